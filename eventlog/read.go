package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// page is how many events are read at once. A reader holds at most one page,
// and no connection while the loop's body runs.
const page = 500

// Read returns the events that the filters select, in the order of their
// positions: committed events and, within a transaction, the events it has
// appended so far. It reads pages as the loop goes on, so it may or may not see
// events that are committed meanwhile; to keep up with a log that grows, use
// [Log.Follow].
//
// An event that cannot be decoded comes with a [*DecodeError]; the loop may
// go on to the next one. After any other error it ends.
func (l *Log) Read(ctx context.Context, filters ...Filter) iter.Seq2[Recorded, error] {
	return l.read(ctx, l.selection(filters))
}

// settled is the condition for events before which no running transaction can
// still put others. On SQLite that is all events.
const settled = "tx < tidings_tx(pg_snapshot_xmin(pg_current_snapshot()))"

func (l *Log) read(ctx context.Context, s *selection, extra ...string) iter.Seq2[Recorded, error] {
	order := "position"
	if l.dialect == backend.Postgres {
		order = "tx, position"
	}
	return l.pages(ctx, s, "reading", func(last Recorded) (string, []any) {
		after := last.Position
		if after == (Position{}) {
			after = s.after
		}
		where, args := s.sql(after, extra...)
		return where + " ORDER BY " + order, args
	})
}

// pages reads page after page. rest returns the end of the query for the events
// after last, which is the zero Recorded at first. doing describes the action
// in errors.
func (l *Log) pages(ctx context.Context, s *selection, doing string, rest func(last Recorded) (query string, args []any)) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		fail := func(err error) { yield(Recorded{}, fmt.Errorf("eventlog: %s: %w", doing, err)) }
		left := s.left()
		var last Recorded // without what takes memory
		var records []Recorded
		for left != 0 {
			size := page
			if left > 0 {
				size = min(left, page)
			}
			query, args := rest(last)
			var err error
			if records, err = l.page(ctx, records[:0], query+fmt.Sprintf(" LIMIT %d", size), args); err != nil {
				fail(err)
				return
			}
			for i := range records {
				if err := ctx.Err(); err != nil {
					fail(err)
					return
				}
				r := records[i]
				records[i] = Recorded{} // the page does not keep what the reader has dropped
				last.Position, last.StreamVersion = r.Position, r.StreamVersion
				var err error
				if !s.raw {
					err = l.decode(&r)
				}
				if !yield(r, err) {
					return
				}
			}
			if len(records) < size {
				return
			}
			left = max(left-size, -1)
		}
	}
}

// page appends the result of a query to records.
func (l *Log) page(ctx context.Context, records []Recorded, query string, args []any) ([]Recorded, error) {
	q, err := l.querier(ctx)
	if err != nil {
		return nil, err
	}
	scan := l.newScanner()
	err = backend.Each(ctx, q, l.selectFrom()+query, args, func(rows backend.Rows) error {
		r, err := scan.next(rows)
		records = append(records, r)
		return err
	})
	return records, err
}

// isDecode reports whether err concerns one event, so that reading can go on.
func isDecode(err error) bool {
	var decode *DecodeError
	return errors.As(err, &decode)
}

// Last returns the position of the last event, or the zero Position if the log
// is empty.
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
