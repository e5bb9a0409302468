package tidings

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// An inflight knows the work that [EventBus.Close] waits for.
//
// A publisher that calls handlers itself holds the token meanwhile, on its
// stack and nowhere else. So when the garbage collector has taken a token,
// nobody who loaded it is still at work: Close asks the collector, and
// publishing costs one load. All other work is counted.
type inflight struct {
	token   atomic.Pointer[token] // nil once the bus is closed
	counted atomic.Int64
	watched atomic.Bool // somebody waits

	mu      sync.Mutex
	held    []weak.Pointer[token] // tokens that were replaced, and that the collector has not taken
	waiting []chan struct{}       // closed when some work has ended
}

// A token has a pointer in it to be an allocation of its own.
type token struct{ _ *token }

// start counts one piece of work. The caller calls finish, on any goroutine.
func (f *inflight) start() { f.counted.Add(1) }

func (f *inflight) finish() {
	f.counted.Add(-1)
	f.release(nil)
}

// release ends the work of a publisher that holds t.
func (f *inflight) release(t *token) {
	runtime.KeepAlive(t)
	if f.watched.Load() {
		f.notify()
	}
}

func (f *inflight) notify() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.waiting {
		close(w)
	}
	f.waiting = nil
	f.watched.Store(false)
}

// watch returns a channel that is closed when some work has ended.
func (f *inflight) watch() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := make(chan struct{})
	f.waiting = append(f.waiting, w)
	f.watched.Store(true)
	return w
}

// wait returns when the work has ended that was in flight when it was
// called, and what that led to, or with ctx.Err(). next is the token of
// those who publish from now on.
func (f *inflight) wait(ctx context.Context, next *token) error {
	f.replace(next)
	// The collector may find a token a little later than it could, and a
	// goroutine that a handler has ended does not say so: look again.
	const first, most = 5 * time.Millisecond, time.Second
	for pause := first; ; pause = min(2*pause, most) {
		ended := f.watch()
		if f.idle() {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ended:
			pause = first
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// replace makes next the token, unless the bus is closed.
func (f *inflight) replace(next *token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.token.Load(); t != nil {
		f.token.Store(next)
		f.held = append(f.held, weak.Make(t))
	}
}

// idle looks for tokens first: their holders may start counted work, but
// not the other way round.
func (f *inflight) idle() bool { return !f.isHeld() && f.counted.Load() == 0 }

func (f *inflight) isHeld() bool {
	f.mu.Lock()
	held := len(f.held) > 0
	f.mu.Unlock()
	if !held {
		return false
	}
	runtime.GC() // without the lock, which publishers take when they end
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = slices.DeleteFunc(f.held, func(t weak.Pointer[token]) bool { return t.Value() == nil })
	return len(f.held) > 0
}
