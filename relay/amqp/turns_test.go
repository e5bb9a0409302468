package amqp_test

import (
	"sync"
	"testing"
)

// Turns keeps tests apart that do different things to a server. Those that do
// the same have their turn together, and what it costs only once.
type turns struct {
	mu      sync.Mutex
	changed sync.Cond
	act     string // what the tests do whose turn it is
	tests   int    // how many these are
	ready   int    // how many of them have called together
	done    bool   // one of them has done it for all
	err     error  // of that
}

// enter waits until nobody does anything else to the server. It is the turn of
// the test until that has ended.
func (s *turns) enter(t *testing.T, act string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.L = &s.mu
	for s.tests > 0 && (s.act != act || s.done) {
		s.changed.Wait()
	}
	s.act = act
	s.tests++
	t.Cleanup(s.leave)
}

func (s *turns) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tests--; s.tests == 0 {
		s.ready, s.done = 0, false
	}
	s.changed.Broadcast()
}

// together waits until all tests whose turn it is have called it or have ended,
// and then calls do once for all of them.
func (s *turns) together(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready++
	s.changed.Broadcast()
	for !s.done && s.ready < s.tests {
		s.changed.Wait()
	}
	if !s.done {
		s.err = do() // with the lock, since all others wait for it
		s.done = true
		s.changed.Broadcast()
	}
	return s.err
}
