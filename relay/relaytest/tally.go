package relaytest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// A tally counts how often each number has been handled, by all handlers that
// share it.
type tally struct {
	rig     *rig
	mu      sync.Mutex
	calls   map[int64]int
	order   []int64
	changed chan struct{} // closed and replaced when a number is added
}

func (r *rig) tally() *tally {
	return &tally{rig: r, calls: map[int64]int{}, changed: make(chan struct{})}
}

func (c *tally) handle(_ context.Context, e counted) error {
	c.add(e.Number)
	return nil
}

// add returns how often the number has been handled, including this time.
func (c *tally) add(number int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[number]++
	c.order = append(c.order, number)
	close(c.changed)
	c.changed = make(chan struct{})
	return c.calls[number]
}

// numbers returns the handled numbers, sorted.
func (c *tally) numbers() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.calls))
}

// inOrder returns the numbers in the order in which they were handled.
func (c *tally) inOrder() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.order)
}

func (c *tally) has(from, to int64) bool {
	for n := from; n <= to; n++ {
		if c.calls[n] == 0 {
			return false
		}
	}
	return true
}

// await waits until all of these numbers have been handled.
func (c *tally) await(from, to int64) { c.rig.Helper(); c.awaitFor(c.rig.Features.Patience, from, to) }

func (c *tally) awaitFor(patience time.Duration, from, to int64) {
	c.rig.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		done, changed := c.has(from, to), c.changed
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			c.rig.Fatalf("want the numbers %d to %d handled within %v, have %v", from, to, patience, c.numbers())
		}
	}
}

// awaitSome waits until any number has been handled, and returns false if ctx
// ends before.
func (c *tally) awaitSome(ctx context.Context) bool {
	for {
		c.mu.Lock()
		done, changed := len(c.calls) > 0, c.changed
		c.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// wantEach fails the test unless exactly these numbers have been handled, each
// once; or more often, with at-least-once delivery.
func (c *tally) wantEach(from, to int64) {
	c.rig.Helper()
	var numbers []int64
	for n := from; n <= to; n++ {
		numbers = append(numbers, n)
	}
	c.wantEachOf(numbers...)
}

// wantNew is wantEach for a group that did not exist when the numbers from 1 to
// below from were sent.
func (c *tally) wantNew(from, to int64) {
	c.rig.Helper()
	if c.rig.History {
		from = 1
	}
	c.wantEach(from, to)
}

func (c *tally) wantEachOf(want ...int64) {
	c.rig.Helper()
	for _, n := range want {
		c.await(n, n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(c.calls)) {
		switch {
		case n < 0: // sent by settle
		case !slices.Contains(want, n):
			c.rig.Errorf("%d was handled, but is not one of %v", n, want)
		case c.calls[n] > 1 && !c.rig.Features.AtLeastOnce:
			c.rig.Errorf("%d was handled %d times", n, c.calls[n])
		}
	}
}

// settle waits until the tallies have the numbers sent to their handlers
// before. A broker without order does not show that: there it waits for some
// later numbers.
func (p *process) settle(tallies ...*tally) {
	p.rig.Helper()
	p.send(-10, -1)
	for _, c := range tallies {
		c.await(-10, -1)
	}
}

// A signal is closed once.
type signal struct {
	once sync.Once
	c    chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }

func (s *signal) give() { s.once.Do(func() { close(s.c) }) }

// await waits for the signal.
func (s *signal) await(r *rig, what string) {
	r.Helper()
	select {
	case <-s.c:
	case <-time.After(r.Features.Patience):
		r.Fatalf("%s has not happened within %v", what, r.Features.Patience)
	}
}
