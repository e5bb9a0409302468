package tidings

import (
	"context"
	"sync"
	"sync/atomic"
	"unsafe"
)

// An inflight counts the work that [EventBus.Close] waits for. Publishers
// count in stripes, so that two of them on two cores do not fight over one
// cache line.
type inflight struct {
	stripes [64]stripe

	watched atomic.Bool // somebody waits
	mu      sync.Mutex
	waiting []chan struct{} // closed at a moment when nothing is in flight
}

type stripe struct {
	started, ended atomic.Uint64
	_              [128 - 16]byte // two cache lines: processors fetch them in pairs
}

// start counts one piece of work. The caller passes the stripe to finish,
// on any goroutine.
func (f *inflight) start() *stripe {
	// Stacks of goroutines do not overlap, so an address on this one picks
	// a stripe that mostly no other running goroutine uses.
	var here byte
	hash := uint64(uintptr(unsafe.Pointer(&here))>>12) * 0x9e3779b97f4a7c15
	s := &f.stripes[hash>>(64-6)]
	s.started.Add(1)
	return s
}

func (f *inflight) finish(s *stripe) {
	s.ended.Add(1)
	if f.watched.Load() {
		f.check()
	}
}

// check wakes those who wait if nothing is in flight. It reads all that
// ended before all that started; where the sums agree, there was a moment
// between the two readings at which they were equal.
func (f *inflight) check() {
	f.mu.Lock() // first, so that the moment lies after every wait that began
	defer f.mu.Unlock()
	var started, ended uint64
	for i := range f.stripes {
		ended += f.stripes[i].ended.Load()
	}
	for i := range f.stripes {
		started += f.stripes[i].started.Load()
	}
	if started != ended {
		return
	}
	for _, w := range f.waiting {
		close(w)
	}
	f.waiting = nil
	f.watched.Store(false)
}

// wait returns at a moment when nothing is in flight, or with ctx.Err().
func (f *inflight) wait(ctx context.Context) error {
	idle := make(chan struct{})
	f.mu.Lock()
	f.waiting = append(f.waiting, idle)
	f.watched.Store(true)
	f.mu.Unlock()
	f.check()
	if closed(idle) {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
