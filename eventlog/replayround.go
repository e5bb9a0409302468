package eventlog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A replay is one call of Replay, Backfill or ReplayTo.
type replay struct {
	log      *Log
	function string // the name of that function
	settings replaySettings

	handler string       // its name; "": all handlers of a bus
	gate    *gate        // of a Backfill; else nil
	event   reflect.Type // the type that it handles; nil: all
	types   []Filter     // select that type; empty: all
	deliver func(ctx context.Context, event tidings.Event) error
	alone   bool                   // deliver must not be called in a transaction
	skips   map[uuid.UUID]struct{} // events that were handled before

	cursor *cursor // nil without Resume
	at     Position
	done   int
	total  int
	next   time.Time // when the Rate allows an event

	report ReplayReport
}

// begin refuses a transaction, and reads where to resume.
func (r *replay) begin(ctx context.Context) error {
	if err := r.log.outsideTx(ctx, r.function); err != nil {
		return err
	}
	if !r.settings.resumes {
		return nil
	}
	c, err := r.log.loadCursor(ctx, r.log.db.Pool(), r.settings.resume)
	if err != nil {
		return err
	}
	r.cursor, r.at = c, c.at
	return nil
}

// settledLast returns the position of the last event, once no running
// transaction can put an event before it. From then on the log does not change
// up to there.
func (l *Log) settledLast(ctx context.Context) (Position, error) {
	last, err := l.Last(ctx)
	if err != nil || l.dialect != backend.Postgres {
		return last, err
	}
	const query = `SELECT $1 < tidings_tx(pg_snapshot_xmin(pg_current_snapshot()))`
	for pause := shortest; ; pause = min(2*pause, 100*time.Millisecond) {
		var is bool
		if _, err := backend.One(ctx, l.db.Pool(), query, []any{last.tx}, &is); err != nil {
			if ended := endOf(ctx); ended != nil {
				err = ended
			}
			return last, fmt.Errorf("eventlog: waiting for transactions to end: %w", err)
		}
		if is {
			return last, nil
		}
		if err := sleep(ctx, pause); err != nil {
			return last, fmt.Errorf("eventlog: waiting for transactions to end that began before the last event: %w", err)
		}
	}
}

// round replays the events that filters select from r.at up to a settled
// position. limited reports whether a Limit has ended it.
func (r *replay) round(ctx context.Context, filters []Filter, upTo Position) (limited bool, err error) {
	s := r.log.selection(append(append([]Filter{After(r.at), UpTo(upTo)}, r.types...), filters...))
	if err := r.count(ctx, s); err != nil {
		return false, err
	}
	left := s.left()
	for rec, err := range r.log.read(ctx, s) {
		if err == nil || isDecode(err) {
			err = r.one(ctx, rec, err)
		}
		if err != nil {
			return false, err
		}
		left--
	}
	if r.cursor != nil && !r.settings.dry && r.at != r.cursor.at {
		// Events that it has passed without a handler.
		if err := r.saveCursor(ctx, r.at, false); err != nil {
			return false, err
		}
	}
	return left == 0, nil
}

func (r *replay) count(ctx context.Context, s *selection) error {
	where, args := s.sql(s.after)
	var n int
	if _, err := backend.One(ctx, r.log.db.Pool(), `SELECT count(*) FROM tidings_events`+where, args, &n); err != nil {
		return fmt.Errorf("eventlog: counting events: %w", err)
	}
	if s.limit != nil {
		n = min(n, s.left())
	}
	r.total += n
	return nil
}

// one replays one event, or skips it.
func (r *replay) one(ctx context.Context, rec Recorded, err error) error {
	if err := r.wait(ctx); err != nil {
		return err
	}
	switch {
	case err != nil && r.settings.skip == nil:
		return r.stopped(rec, err)
	case err != nil:
		var decode *DecodeError
		errors.As(err, &decode)
		r.settings.skip(decode)
		r.report.Undecodable++
	case r.isFor(rec):
		if err := r.handle(ctx, rec); err != nil {
			if ended := endOf(ctx); ended != nil && !errors.Is(err, ended) {
				err = fmt.Errorf("%w: %w", ended, err) // a commit that fails because of this does not say so
			}
			return r.stopped(rec, err)
		}
		r.report.Handled++
	}
	r.at, r.report.Position = rec.Position, rec.Position
	r.done++
	if r.settings.progress != nil {
		r.settings.progress(ReplayProgress{Done: r.done, Total: max(r.total, r.done), Position: r.at})
	}
	return nil
}

func (r *replay) isFor(rec Recorded) bool {
	if _, skip := r.skips[rec.Envelope.ID]; skip {
		return false
	}
	return r.event == nil || reflect.TypeOf(rec.Event).AssignableTo(r.event)
}

// handle calls the handler and moves the cursor in the same transaction.
func (r *replay) handle(ctx context.Context, rec Recorded) error {
	if r.settings.dry {
		return nil
	}
	mark := &replaying{id: rec.Envelope.ID, handler: r.handler, gate: r.gate}
	if r.cursor == nil || r.alone {
		if err := r.deliver(mark.in(ctx), rec.Event); err != nil || r.cursor == nil {
			return err
		}
		return r.saveCursor(ctx, rec.Position, false)
	}
	var moved func()
	err := r.log.db.InTx(mark.in(ctx), func(ctx context.Context, tx backend.Querier) (err error) {
		// First, so that of two replays one fails before it has an effect.
		if moved, err = r.cursor.move(ctx, tx, rec.Position, false); err != nil {
			return err
		}
		return r.deliver(ctx, rec.Event)
	})
	if err == nil {
		moved()
	}
	return err
}

func (r *replay) saveCursor(ctx context.Context, at Position, finished bool) error {
	moved, err := r.cursor.move(ctx, r.log.db.Pool(), at, finished)
	if err != nil {
		return fmt.Errorf("eventlog: %s: %w", r.function, err)
	}
	moved()
	return nil
}

// stopped adds the event at which the replay has ended to err.
func (r *replay) stopped(rec Recorded, err error) error {
	return fmt.Errorf("eventlog: %s stopped at position %s, event %s: %w", r.function, rec.Position, rec.Envelope.ID, err)
}

// wait waits until the Rate allows an event.
func (r *replay) wait(ctx context.Context) error {
	if !r.settings.rated {
		return nil
	}
	now := time.Now()
	if err := sleep(ctx, r.next.Sub(now)); err != nil {
		return fmt.Errorf("eventlog: %s after position %s: %w", r.function, r.at, err)
	}
	if r.next.Before(now) {
		r.next = now
	}
	r.next = r.next.Add(time.Duration(float64(time.Second) / r.settings.rate))
	return nil
}

// sleep waits, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
