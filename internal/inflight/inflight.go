// Package inflight counts the work that the end of a bus waits for.
package inflight

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tidings-go/tidings/internal/typemap"
)

// A Counter counts work. The zero Counter has none. Its methods are safe to call
// concurrently.
//
// A publisher counts itself in one of several shards, for as long as it calls
// handlers, so that publishers on several processors rarely wait for one cache line.
// Work that outlives its publisher, such as asynchronous handlers, is counted in
// deferred.
type Counter struct {
	shards   [shards]Shard
	deferred atomic.Int64
	watched  atomic.Bool // Wait was called

	mu      sync.Mutex
	waiting []chan struct{} // closed when some work has ended
}

const shards = 1 << 3

// A Shard is a part of a Counter.
type Shard struct {
	n atomic.Int64
	_ [56]byte // the rest of a cache line
}

// Start counts one piece of work. Which shard does, an address of the stack tells:
// that differs between goroutines.
func (c *Counter) Start(stack unsafe.Pointer) *Shard {
	s := &c.shards[typemap.Spread(stack)>>(bits.UintSize-3)]
	s.n.Add(1)
	return s
}

// Finish ends what Start has counted in s.
func (c *Counter) Finish(s *Shard) {
	s.n.Add(-1)
	if c.watched.Load() {
		c.notify()
	}
}

// StartDeferred counts one piece of work that its publisher does not wait for.
func (c *Counter) StartDeferred() { c.deferred.Add(1) }

// FinishDeferred ends what StartDeferred has counted.
func (c *Counter) FinishDeferred() {
	c.deferred.Add(-1)
	if c.watched.Load() {
		c.notify()
	}
}

func (c *Counter) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waiting {
		close(w)
	}
	c.waiting = nil
	c.watched.Store(false)
}

// watch returns a channel that is closed when some work has ended.
func (c *Counter) watch() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := make(chan struct{})
	c.waiting = append(c.waiting, w)
	c.watched.Store(true)
	return w
}

// Wait returns when nothing is in flight, or with ctx.Err().
func (c *Counter) Wait(ctx context.Context) error {
	for {
		ended := c.watch()
		if c.idle() {
			return nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// idle looks at the shards first. A publisher may leave deferred work behind, which
// is counted before the publisher ends; deferred work is counted until all that it
// publishes in turn has ended.
func (c *Counter) idle() bool {
	for i := range c.shards {
		if c.shards[i].n.Load() != 0 {
			return false
		}
	}
	return c.deferred.Load() == 0
}
