package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// PollInterval sets how often [Log.Follow] asks the database for new events.
// The defaults are 100ms on SQLite, 250ms on Postgres, and 1s where Postgres
// tells of new events (package pgxlog), so that asking is the fallback.
func PollInterval(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("eventlog: PollInterval(%s): must be positive", d))
	}
	return optionFunc(func(s *settings) { s.pollInterval = d })
}

// Follow returns the events that the filters select, first those that are in
// the log and then, as they are committed, those that come. It ends with ctx:
// the last that the loop sees is then ctx.Err(). With [Limit] it ends after
// so many events.
//
//	for recorded, err := range log.Follow(ctx, eventlog.After(cursor)) {
//
// It misses nothing and repeats nothing, and each [Position] that the loop
// has seen is a cursor to go on from, in this process or a later one. On
// Postgres an event is seen once no running transaction can put another one
// before it: a long transaction that writes, to any table of the server,
// holds followers back until it ends.
//
// An event that cannot be decoded comes with a [*DecodeError]; the loop may
// go on to the next one. After any other error, such as that of a database
// that is down, it ends; begin again after the last position.
//
// No connection is held while the loop's body runs, but for the one that
// package pgxlog listens on: its pool needs one for each follower, and at
// least one more. Inside a transaction, where nothing would ever come, Follow
// returns an error.
func (l *Log) Follow(ctx context.Context, filters ...Filter) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		if err := l.follow(ctx, l.selection(filters), yield); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err() // whichever statement it interrupted
			}
			yield(Recorded{}, err)
		}
	}
}

// follow returns nil if the loop has ended by itself.
func (l *Log) follow(ctx context.Context, s *selection, yield func(Recorded, error) bool) error {
	if err := l.outsideTx(ctx, "Follow"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends listening
	defer cancel()
	// Before the first look: nothing that comes after that is overheard.
	told, err := l.db.Listen(ctx, "tidings_events")
	if err != nil {
		return fmt.Errorf("eventlog: Follow: listening: %w", err)
	}
	w := waiter{told: told, longest: l.pollInterval(told != nil)}
	defer w.stop()
	for {
		found, goOn, err := l.followOnce(ctx, s, yield)
		if err != nil || !goOn {
			return err
		}
		if err := w.wait(ctx, found); err != nil {
			return err
		}
	}
}

// followOnce passes on what is there after s.after, and moves that. goOn is
// false when the loop or the limit is through.
func (l *Log) followOnce(ctx context.Context, s *selection, yield func(Recorded, error) bool) (found, goOn bool, err error) {
	left := s.left()
	for r, err := range l.read(ctx, s, l.settled()...) {
		if err != nil && !isDecode(err) {
			return found, false, err
		}
		if !yield(r, err) {
			return found, false, nil
		}
		found, s.after = true, r.Position
		left--
	}
	if s.limit != nil {
		s.limit = &left // its own: a Filter may be used again
	}
	return found, left != 0, nil
}

// settled returns the condition for events that no running transaction can
// still put others before.
func (l *Log) settled() []string {
	if l.dialect == backend.Postgres {
		return []string{settled}
	}
	return nil
}

func (l *Log) pollInterval(told bool) time.Duration {
	switch {
	case l.settings.pollInterval > 0:
		return l.settings.pollInterval
	case l.dialect == backend.SQLite:
		return 100 * time.Millisecond
	case told:
		return time.Second
	}
	return 250 * time.Millisecond
}

// outsideTx returns an error if ctx is in a transaction, whose events and
// whose view of others would be part of what function is to see.
func (l *Log) outsideTx(ctx context.Context, function string) error {
	switch tx, err := l.db.Tx(ctx); {
	case err != nil:
		return err
	case tx != nil:
		return errors.New("eventlog: " + function + " inside a transaction: what others commit would not be seen, or waited for without end: call it with a context from outside")
	}
	return nil
}

// A waiter waits for events that may have come.
type waiter struct {
	told    <-chan struct{} // nil: nobody tells
	longest time.Duration
	pause   time.Duration // the last one
	timer   *time.Timer
}

// shortest is the first pause after a reader was told of events that it did
// not find, since they were not settled yet.
const shortest = 2 * time.Millisecond

// wait returns when it is time to look again, or with ctx. Pauses grow from
// the last event or notification on.
func (w *waiter) wait(ctx context.Context, found bool) error {
	switch {
	case w.told == nil:
		w.pause = w.longest
	case found || w.pause == 0:
		w.pause = min(shortest, w.longest)
	default:
		w.pause = min(2*w.pause, w.longest)
	}
	if w.timer == nil {
		w.timer = time.NewTimer(w.pause)
	} else {
		w.timer.Reset(w.pause)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.told:
		w.pause = 0
		return nil
	case <-w.timer.C:
		return nil
	}
}

func (w *waiter) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
