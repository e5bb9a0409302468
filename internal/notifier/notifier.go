// Package notifier notifies the sessions that LISTEN on Postgres, after commits and
// outside of all transactions. A transaction that has notified holds a server-wide lock
// while it commits and flushes to disk, so all publishers would commit one by one; and it
// cannot be prepared for a two-phase commit.
package notifier

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Notifier runs one statement at a time, for all commits that happened meanwhile. Those
// differ by keys, such as the queues that have new jobs. The zero Notifier is ready to use.
type Notifier[K comparable] struct {
	mu      sync.Mutex
	due     map[K]struct{} // not announced yet
	running bool           // a statement runs, or is about to
	next    time.Time      // not before
}

// Notify makes the notifier call run soon with all keys that are due, and does not wait for
// that. run returns how long to wait before the next call; its ctx ends after ten seconds.
// All calls have the same run.
func (n *Notifier[K]) Notify(run func(ctx context.Context, keys []K) time.Duration, keys ...K) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.due == nil {
		n.due = map[K]struct{}{}
	}
	for _, key := range keys {
		n.due[key] = struct{}{}
	}
	if !n.running {
		n.planLocked(run)
	}
}

func (n *Notifier[K]) planLocked(run func(context.Context, []K) time.Duration) {
	n.running = true
	time.AfterFunc(time.Until(n.next), func() {
		n.mu.Lock()
		keys := slices.Collect(maps.Keys(n.due))
		clear(n.due)
		n.mu.Unlock()

		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		pause := run(ctx, keys)

		n.mu.Lock()
		defer n.mu.Unlock()
		n.running, n.next = false, time.Now().Add(pause)
		if len(n.due) > 0 {
			n.planLocked(run)
		}
	})
}
