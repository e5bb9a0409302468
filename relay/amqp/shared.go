package amqp

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errClosed = errors.New("closed")

// A shared value, such as a connection, is created when it is first requested,
// once for all concurrent requests, and again when it has died.
type shared[T any] struct {
	create  func(context.Context) (T, error)
	alive   func(T) bool
	dispose func(T)
	pause   time.Duration // after a failure, which get returns until then

	mu       sync.Mutex
	value    T
	made     bool
	call     *call[T] // the running call, which creates a value
	failed   error
	failedAt time.Time
	closed   bool
}

// A call creates a value; the fields are valid once done is closed.
type call[T any] struct {
	done   chan struct{}
	cancel context.CancelFunc
	value  T
	err    error
}

// get returns the value. A running call continues when ctx ends.
func (s *shared[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	if s.made && s.alive(s.value) {
		defer s.mu.Unlock()
		return s.value, nil
	}
	var none T
	if s.closed {
		s.mu.Unlock()
		return none, errClosed
	}
	c := s.call
	if c == nil {
		if s.failed != nil && time.Since(s.failedAt) < s.pause {
			defer s.mu.Unlock()
			return none, s.failed
		}
		c = s.startLocked()
	}
	s.mu.Unlock()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

func (s *shared[T]) startLocked() *call[T] {
	ctx, cancel := context.WithCancel(context.Background())
	c := &call[T]{done: make(chan struct{}), cancel: cancel}
	s.call = c
	go func() {
		defer close(c.done)
		defer cancel()
		c.value, c.err = s.create(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.call = nil
		if s.failed = c.err; c.err != nil {
			s.failedAt = time.Now()
			return
		}
		if s.closed {
			s.dispose(c.value)
			c.err = errClosed
			return
		}
		s.value, s.made = c.value, true
	}()
	return c
}

// close disposes of the value; then there is none. A call that is creating one
// is cancelled, and gets little time for that: if it is late, its value is
// disposed of all the same.
func (s *shared[T]) close() {
	s.mu.Lock()
	s.closed = true
	value, made := s.value, s.made
	c := s.call
	s.made = false
	s.mu.Unlock()
	if c != nil {
		c.cancel()
		timer := time.NewTimer(closeWithin)
		defer timer.Stop()
		select {
		case <-c.done:
		case <-timer.C:
		}
	}
	if made && s.alive(value) {
		s.dispose(value)
	}
}

// await returns the result of f, or the cause of ctx if that ends first, since
// calls of the client library wait as long as the connection lasts. discard
// gets a result that comes too late.
func await[T any](ctx context.Context, f func() (T, error), discard func(T)) (T, error) {
	c := &call[T]{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.value, c.err = f()
	}()
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
	}
	go func() {
		if <-c.done; c.err == nil {
			discard(c.value)
		}
	}()
	var none T
	return none, context.Cause(ctx)
}
