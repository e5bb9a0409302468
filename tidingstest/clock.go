package tidingstest

import (
	"sync"
	"time"
)

// A Clock is a time that only the test moves:
//
//	clock := tidingstest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
//	bus := tidingstest.NewBus(t, tidings.WithClock(clock.Now))
//
// It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a Clock that shows start.
func NewClock(start time.Time) *Clock { return &Clock{now: start} }

// Now returns the time of the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d, backwards if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
