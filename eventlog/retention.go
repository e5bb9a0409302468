package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// A DeleteOption is an option of [Log.DeleteBefore] and of
// [Log.ForgetHandledBefore], unless it is documented for one of them.
type DeleteOption interface{ apply(*deletion) }

type deleteFunc func(*deletion)

func (f deleteFunc) apply(d *deletion) { f(d) }

// A deletion is what the options say together.
type deletion struct {
	batch    int
	pause    time.Duration
	filters  []Filter // of events
	streams  bool     // also events of streams
	handlers []string // of records of the inbox
	some     bool     // of these handlers only
}

// BatchSize sets the maximum number of rows that one transaction deletes. The
// default is 1000.
func BatchSize(n int) DeleteOption {
	if n < 1 {
		panic(fmt.Sprintf("eventlog: BatchSize(%d): must be at least 1", n))
	}
	return deleteFunc(func(d *deletion) { d.batch = n })
}

// Pause sets how long to wait after each batch. The default is 10 ms on SQLite,
// where no other process can write while a batch is deleted, and none on
// Postgres.
func Pause(wait time.Duration) DeleteOption { return deleteFunc(func(d *deletion) { d.pause = wait }) }

// Matching restricts [Log.DeleteBefore] to events that all the filters select, such
// as [Types].
func Matching(filters ...Filter) DeleteOption {
	return deleteFunc(func(d *deletion) { d.filters = append(d.filters, filters...) })
}

// IncludeStreams makes [Log.DeleteBefore] also delete events of streams. An aggregate
// whose events are deleted cannot be loaded any more, unless it has a snapshot newer
// than all of them.
func IncludeStreams() DeleteOption { return deleteFunc(func(d *deletion) { d.streams = true }) }

// OfHandlers restricts [Log.ForgetHandledBefore] to the records of these handlers: a
// replay to them then takes effect again, for instance after their tables were emptied.
func OfHandlers(names ...string) DeleteOption {
	return deleteFunc(func(d *deletion) { d.handlers, d.some = append(d.handlers, names...), true })
}

// deletion returns what the options of a function say together.
func (l *Log) deletion(function string, opts []DeleteOption) (deletion, error) {
	d := deletion{batch: 1000}
	if l.dialect == backend.SQLite {
		d.pause = 10 * time.Millisecond
	}
	for _, o := range opts {
		if o == nil {
			return d, fmt.Errorf("eventlog: %s with a nil DeleteOption", function)
		}
		o.apply(&d)
	}
	return d, nil
}

// DeleteBefore deletes the events that occurred before t, oldest first, and
// returns how many, also with an error. Events of streams stay, unless
// [IncludeStreams] is given.
//
// It compares the time when an event occurred, like the filter [Before], not
// the time when it was recorded. So [Log.Export] with that filter and those of
// [Matching] writes exactly the events that DeleteBefore will then delete, and
// imported events are as old as when they occurred. Both calls see only
// committed events: t should lie further back than the longest transaction.
//
// Each batch is a transaction of its own, see [BatchSize] and [Pause], so
// writers wait for at most one batch. After an interruption call it again.
// Inside a transaction, which would hold all locks until its end, it returns an
// error.
//
// A follower or replay that has not reached the deleted events will never see
// them. Positions are not reused.
func (l *Log) DeleteBefore(ctx context.Context, t time.Time, opts ...DeleteOption) (int64, error) {
	d, err := l.deletion("DeleteBefore", opts)
	if err != nil {
		return 0, err
	}
	if d.some {
		return 0, errors.New("eventlog: DeleteBefore with OfHandlers, which is for ForgetHandledBefore: events belong to no handler")
	}
	s := l.selection(append(slices.Clone(d.filters), Before(t)))
	if !d.streams {
		s.where("stream IS NULL")
	}
	var from *place
	deleted, err := l.inBatches(ctx, d, s.left(), func(ctx context.Context, size int) (int64, bool, error) {
		to, more, err := l.place(ctx, s, from, size)
		if err != nil || to == nil {
			return 0, false, err
		}
		n, err := l.deleteUpTo(ctx, s, from, to)
		from = to
		return n, more, err
	})
	if err != nil {
		err = fmt.Errorf("eventlog: deleting events: %w", err)
	}
	return deleted, err
}

// A place is a place in the order of occurrence, which has an index.
type place struct {
	occurred any // as the database has it
	position int64
}

// place returns the place of the last of the next size events, and whether
// there may be more. It reads without a transaction, so that others wait only
// for the deletion.
func (l *Log) place(ctx context.Context, s *selection, from *place, size int) (to *place, more bool, err error) {
	var occurred any = new(int64)
	if l.dialect == backend.Postgres {
		occurred = new(time.Time)
	}
	where, args := s.between(from, nil)
	query := fmt.Sprintf("SELECT occurred_at, position FROM tidings_events%s ORDER BY occurred_at, position LIMIT %d", where, size)
	to, rows := &place{}, 0
	err = backend.Each(ctx, l.db.Pool(), query, args, func(r backend.Rows) error {
		rows++
		return r.Scan(occurred, &to.position)
	})
	if err != nil || rows == 0 {
		return nil, false, err
	}
	switch at := occurred.(type) {
	case *int64:
		to.occurred = *at
	case *time.Time:
		to.occurred = dbTime(l.dialect, *at)
	}
	return to, rows == size, nil
}

func (l *Log) deleteUpTo(ctx context.Context, s *selection, from, to *place) (int64, error) {
	where, args := s.between(from, to)
	return l.db.Pool().Exec(ctx, "DELETE FROM tidings_events"+where, args...)
}

// between returns the clause for the selected events after from and up to to,
// each if it is not nil.
func (s *selection) between(from, to *place) (string, []any) {
	part := *s
	part.conditions, part.args = slices.Clone(s.conditions), slices.Clone(s.args)
	if from != nil {
		part.where("(occurred_at, position) > (?, ?)", from.occurred, from.position)
	}
	if to != nil {
		part.where("(occurred_at, position) <= (?, ?)", to.occurred, to.position)
	}
	return part.sql(s.after)
}

// ForgetHandledBefore deletes the records of [Log.Inbox] that were made before
// t, and returns how many, also with an error. It works like
// [Log.DeleteBefore]: in batches, not inside a transaction, and again after an
// interruption.
//
// An event that arrives again after its record was deleted is handled again. So
// keep the records longer than it can take until an event arrives for the last
// time: count the retries of the transport, how long it keeps dead letters, and
// the age of the events that you replay. A record takes about 150 bytes; begin
// with a month of them.
func (l *Log) ForgetHandledBefore(ctx context.Context, t time.Time, opts ...DeleteOption) (int64, error) {
	d, err := l.deletion("ForgetHandledBefore", opts)
	if err != nil {
		return 0, err
	}
	if d.streams || len(d.filters) > 0 {
		return 0, errors.New("eventlog: ForgetHandledBefore with Matching or IncludeStreams, which are for DeleteBefore: a record of the inbox has only the event's ID")
	}
	if d.some && len(d.handlers) == 0 {
		return 0, nil
	}
	where, args := "recorded_at < ?", []any{dbTime(l.dialect, t)}
	if d.some {
		condition, names := in("handler", d.handlers)
		where, args = where+" AND "+condition, append(args, names...)
	}
	lock := ""
	if l.dialect == backend.Postgres {
		lock = " FOR UPDATE SKIP LOCKED" // two that forget at once share the work
	}
	forgotten, err := l.inBatches(ctx, d, -1, func(ctx context.Context, size int) (int64, bool, error) {
		query := fmt.Sprintf("DELETE FROM tidings_inbox WHERE (handler, event_id) IN (SELECT handler, event_id FROM tidings_inbox WHERE %s ORDER BY recorded_at LIMIT %d%s)", where, size, lock)
		n, err := l.db.Pool().Exec(ctx, bind(l.dialect, query), args...)
		return n, n == int64(size), err
	})
	if err != nil {
		err = fmt.Errorf("eventlog: forgetting what was handled: %w", err)
	}
	return forgotten, err
}

// inBatches calls batch until there are no more rows, or until limit rows were
// deleted if limit is not negative.
func (l *Log) inBatches(ctx context.Context, d deletion, limit int, batch func(ctx context.Context, size int) (n int64, more bool, err error)) (deleted int64, err error) {
	if tx, err := l.db.Tx(ctx); err != nil {
		return 0, err
	} else if tx != nil {
		return 0, errors.New("not inside a transaction, which would keep every batch until its end: use a ctx from outside")
	}
	for {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		size := d.batch
		if limit >= 0 {
			if size = min(size, limit-int(deleted)); size <= 0 {
				return deleted, nil
			}
		}
		n, more, err := batch(ctx, size)
		deleted += n
		if err != nil || !more {
			return deleted, err
		}
		if err := sleep(ctx, d.pause); err != nil {
			return deleted, err
		}
	}
}
