package eventlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// WithPollInterval sets how often [Log.Follow] asks the database for new events
// when nothing wakes it earlier; see there. The defaults are 100ms on SQLite,
// 250ms on Postgres, and 1s where other processes notify of new events (package
// pgxlog). A poll that finds nothing is one lookup in an index.
func WithPollInterval(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("eventlog: WithPollInterval(%s): must be positive", d))
	}
	return optionFunc(func(s *settings) { s.pollInterval = d })
}

// Follow returns the events that the filters select: first those that are in
// the log and then new ones as they are committed. It ends with ctx: the last
// error that the loop sees is then ctx.Err(). With [Limit] it ends after that
// many events.
//
//	for recorded, err := range log.Follow(ctx, eventlog.After(cursor)) {
//
// It misses nothing and repeats nothing. Each [Position] that the loop has seen
// is a cursor to continue from, in this process or a later one. On Postgres an
// event is seen once no running transaction can put another one before it: a
// long transaction that writes, to any table of the server, delays followers
// until it ends.
//
// A commit through the same Log wakes Follow, on every database. With package
// pgxlog, commits in other processes also wake it: while a follower listens,
// they notify outside of their transactions. It sees all other events at the
// next [WithPollInterval]: events that other processes append, if the Log is on
// [SQLite] or [Postgres]; events that other programs insert, unless they NOTIFY
// tidings_events; and all events on a Postgres standby, where LISTEN is not
// possible, and behind a pooler in transaction mode, which does not forward
// notifications.
//
// An event that cannot be decoded comes with a [*DecodeError]; the loop may go
// on to the next one. After any other error, such as a database that is down,
// it ends; begin again after the last position.
//
// No connection is held while the loop's body runs, except the one that package
// pgxlog listens on: its pool needs one for each follower, and at least one
// more. Inside a transaction, where no new event would ever arrive, Follow
// returns an error.
func (l *Log) Follow(ctx context.Context, filters ...Filter) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		if err := l.follow(ctx, l.selection(filters), yield); err != nil {
			if ended := endOf(ctx); ended != nil {
				err = ended // whichever statement it interrupted
			}
			yield(Recorded{}, err)
		}
	}
}

// endOf returns why ctx has ended, if it has. A driver that passes the deadline
// to its connection, as pgdriver does, can be a moment ahead of ctx.
func endOf(ctx context.Context) error {
	err := ctx.Err()
	if deadline, ok := ctx.Deadline(); err == nil && ok && !time.Now().Before(deadline) {
		err = context.DeadlineExceeded
	}
	return err
}

// follow returns nil if the loop has ended by itself.
func (l *Log) follow(ctx context.Context, s *selection, yield func(Recorded, error) bool) error {
	if err := l.outsideTx(ctx, "Follow"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends listening
	defer cancel()
	// Before the first look: no event that arrives after it is missed.
	woken, remove := l.followers.add()
	defer remove()
	told, err := l.db.Listen(ctx, channel)
	if err != nil {
		return fmt.Errorf("eventlog: Follow: listening: %w", err)
	}
	w := waiter{woken: woken, told: told, longest: l.pollInterval(told != nil)}
	if w.first = w.longest; l.dialect == backend.Postgres {
		w.first = min(shortest, w.longest)
	}
	defer w.stop()
	for {
		if goOn, err := l.followOnce(ctx, s, yield); err != nil || !goOn {
			return err
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

// followOnce passes on the events after s.after, and moves s.after. goOn is
// false when the loop or the limit has ended.
func (l *Log) followOnce(ctx context.Context, s *selection, yield func(Recorded, error) bool) (goOn bool, err error) {
	left := s.left()
	for r, err := range l.read(ctx, s, l.settled()...) {
		if err != nil && !isDecode(err) {
			return false, err
		}
		if !yield(r, err) {
			return false, nil
		}
		s.after = r.Position
		left--
	}
	if s.limit != nil {
		s.limit = &left // its own: a Filter may be used again
	}
	return left != 0, nil
}

// settled returns the condition for events before which no running transaction
// can still put others.
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

// outsideTx returns an error if ctx is in a transaction: function would see the
// transaction's own events, and its view of others.
func (l *Log) outsideTx(ctx context.Context, function string) error {
	switch tx, err := l.db.Tx(ctx); {
	case err != nil:
		return err
	case tx != nil:
		return errors.New("eventlog: " + function + " inside a transaction: what others commit would not be seen, or waited for without end: call it with a context from outside")
	}
	return nil
}

// A waiter waits until there may be new events.
type waiter struct {
	woken   <-chan struct{} // by this process
	told    <-chan struct{} // by the database; nil: it does not
	first   time.Duration   // the pause after a wake-up
	longest time.Duration
	pause   time.Duration // the last one
	timer   *time.Timer
}

// shortest is the first pause after a wake-up on Postgres, where the events
// that a reader was woken for may not be settled yet.
const shortest = 2 * time.Millisecond

// wait returns when it is time to look again, or when ctx ends. Pauses grow
// after the last wake-up.
func (w *waiter) wait(ctx context.Context) error {
	w.pause = min(max(2*w.pause, w.first), w.longest)
	if w.timer == nil {
		w.timer = time.NewTimer(w.pause)
	} else {
		w.timer.Reset(w.pause)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.woken:
		w.pause = 0
	case <-w.told:
		w.pause = 0
	case <-w.timer.C:
	}
	return nil
}

func (w *waiter) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}
