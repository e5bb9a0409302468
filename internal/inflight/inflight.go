// Package inflight counts running work, for which Close of a bus waits.
package inflight

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tidings-go/tidings/internal/typemap"
)

// A Counter counts running work. The zero Counter is at zero. Its methods are safe to
// call concurrently.
//
// A publisher counts itself in one of several shards while it calls handlers, so that
// publishers on several processors rarely wait for the same cache line. Work that its
// publisher does not wait for, such as Async handlers, is counted in deferred.
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

// Start counts one piece of work. The address chooses the shard: an address on the
// stack of the publisher, or of memory that it has just allocated, differs between
// goroutines.
func (c *Counter) Start(stack unsafe.Pointer) *Shard {
	s := &c.shards[typemap.Spread(stack)>>(bits.UintSize-3)]
	s.n.Add(1)
	return s
}

// Finish ends the piece of work that Start has counted in s.
func (c *Counter) Finish(s *Shard) {
	s.n.Add(-1)
	if c.watched.Load() {
		c.notify()
	}
}

// StartDeferred counts one piece of work that its publisher does not wait for.
func (c *Counter) StartDeferred() { c.deferred.Add(1) }

// FinishDeferred ends the piece of work that StartDeferred has counted.
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

// Wait waits until no work is running. If ctx ends before that, it returns ctx.Err().
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

// idle checks the shards before it checks deferred. A publisher counts its deferred
// work before the publisher itself ends, and deferred work is counted until
// everything that it publishes has ended. So no work can pass from one to the other
// unseen.
func (c *Counter) idle() bool {
	for i := range c.shards {
		if c.shards[i].n.Load() != 0 {
			return false
		}
	}
	return c.deferred.Load() == 0
}
