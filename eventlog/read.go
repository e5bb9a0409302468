package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// page is how many events are read at once. A reader holds no more of them,
// and no connection while the loop's body runs.
const page = 500

// Read returns the events that the filters select, in the order of their
// positions: those that have been committed, and within a transaction its
// own, as far as they were appended. It reads pages as the loop goes on, so
// what is committed meanwhile may be seen or not; to keep up with a log that
// grows use [Log.Follow].
//
// An event that cannot be decoded comes with a [*DecodeError]; the loop may
// go on to the next one. After any other error it ends.
func (l *Log) Read(ctx context.Context, filters ...Filter) iter.Seq2[Recorded, error] {
	return l.read(ctx, l.selection(filters))
}

// settled is the condition for events that no running transaction can still
// put others before. On SQLite that is all of them.
const settled = "tx < tidings_tx(pg_snapshot_xmin(pg_current_snapshot()))"

func (l *Log) read(ctx context.Context, s *selection, extra ...string) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		after, left := s.after, -1
		if s.limit != nil {
			left = max(*s.limit, 0)
		}
		for left != 0 {
			size := page
			if left > 0 {
				size = min(left, page)
			}
			records, err := l.page(ctx, s, after, size, extra...)
			if err != nil {
				yield(Recorded{}, fmt.Errorf("eventlog: reading: %w", err))
				return
			}
			for i := range records {
				if err := ctx.Err(); err != nil {
					yield(Recorded{}, fmt.Errorf("eventlog: reading: %w", err))
					return
				}
				r := &records[i]
				var err error
				if !s.raw {
					err = l.decode(r)
				}
				if !yield(*r, err) {
					return
				}
				after = r.Position
				*r = Recorded{} // the page does not keep what the reader has dropped
			}
			if len(records) < size {
				return
			}
			left = max(left-size, -1)
		}
	}
}

// page reads at most size events after a position.
func (l *Log) page(ctx context.Context, s *selection, after Position, size int, extra ...string) ([]Recorded, error) {
	q, err := l.querier(ctx)
	if err != nil {
		return nil, err
	}
	order := " ORDER BY position"
	if l.dialect == backend.Postgres {
		order = " ORDER BY tx, position"
	}
	where, args := s.sql(after, extra...)
	query := l.selectFrom() + where + order + fmt.Sprintf(" LIMIT %d", size)
	var records []Recorded
	err = backend.Each(ctx, q, query, args, func(rows backend.Rows) error {
		r, err := l.scan(rows)
		records = append(records, r)
		return err
	})
	return records, err
}

// isDecode reports whether err is about one event, so that reading goes on.
func isDecode(err error) bool {
	var decode *DecodeError
	return errors.As(err, &decode)
}

// Last returns the position of the last event, and the zero Position if the
// log is empty.
func (l *Log) Last(ctx context.Context) (Position, error) {
	q, err := l.querier(ctx)
	if err != nil {
		return Position{}, err
	}
	query := "SELECT 0, position FROM tidings_events ORDER BY position DESC LIMIT 1"
	if l.dialect == backend.Postgres {
		query = "SELECT tx, position FROM tidings_events ORDER BY tx DESC, position DESC LIMIT 1"
	}
	var p Position
	if _, err := backend.One(ctx, q, query, nil, &p.tx, &p.seq); err != nil {
		return Position{}, fmt.Errorf("eventlog: reading the last position: %w", err)
	}
	return p, nil
}
