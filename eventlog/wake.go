package eventlog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// Followers are woken after the commit, never by a NOTIFY in the publisher's
// transaction, see package notifier. A wake-up may get lost, for instance if the
// process dies: followers also poll, see [WithPollInterval].

// wakeOnCommit wakes followers once the transaction of ctx has committed, or
// immediately where there is none.
func (l *Log) wakeOnCommit(ctx context.Context) {
	// It fails if callbacks are nested too deeply. Nothing is lost then.
	_ = tidings.OnCommit(ctx, tidings.Default(), func(context.Context) error {
		l.wake()
		return nil
	})
}

// wake wakes the followers of the log in this process, and soon notifies those
// in other processes.
func (l *Log) wake() {
	l.followers.wake()
	if l.dialect == backend.Postgres {
		l.notifier.Notify(l.notifySessions, struct{}{})
	}
}

// followers holds the followers of one Log.
type followers struct {
	mu    sync.Mutex
	woken map[chan struct{}]struct{} // each holds one wake-up
}

// add returns a channel that receives after a commit, until remove is called.
func (f *followers) add() (woken <-chan struct{}, remove func()) {
	c := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.woken == nil {
		f.woken = map[chan struct{}]struct{}{}
	}
	f.woken[c] = struct{}{}
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.woken, c)
	}
}

func (f *followers) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.woken {
		select {
		case c <- struct{}{}:
		default: // it has not looked since the last one
		}
	}
}

// channel is the Postgres channel on which followers listen.
const channel = "tidings_events"

// notifyListeners notifies if a session listens, and returns whether it did. A
// transaction that does nothing but notify flushes nothing to disk.
var notifyListeners = fmt.Sprintf(`SELECT count(pg_notify('%s', '')) FROM (SELECT) AS one WHERE NOT pg_try_advisory_xact_lock(%d)`,
	channel, backend.ListenLock)

// How long a notifier waits after it has notified, and after an error or if
// there was no listener.
const (
	notifiedPause = 5 * time.Millisecond
	nobodyPause   = time.Second
)

// notifySessions notifies listeners in other processes. An error is not reported: if the
// server is down, the next publish fails, and listeners also poll.
func (l *Log) notifySessions(ctx context.Context, _ []struct{}) (pause time.Duration) {
	var notified int
	if _, err := backend.One(ctx, l.db.Pool(), notifyListeners, nil, &notified); err == nil && notified > 0 {
		return notifiedPause
	}
	return nobodyPause
}
