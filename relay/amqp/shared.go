package amqp

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errClosed = errors.New("closed")

// A shared value is made when it is first asked for, once for all who ask
// meanwhile, and again when it has died. A connection is one.
type shared[T any] struct {
	create  func(context.Context) (T, error)
	alive   func(T) bool
	dispose func(T)
	pause   time.Duration // after a failure, which is returned until then

	mu       sync.Mutex
	value    T
	made     bool
	call     *call[T] // the one that makes a value now
	failed   error
	failedAt time.Time
	closed   bool
}

// A call makes a value; the fields are valid once done is closed.
type call[T any] struct {
	done   chan struct{}
	cancel context.CancelFunc
	value  T
	err    error
}

// get returns the value. What has begun to make it goes on when ctx ends.
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

// close disposes of the value, after which there is none. What makes one now is
// told to end, and gets little time for that: if it is late, it is disposed of
// all the same.
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

// await returns what f does, or the cause of ctx if that ends first, since the
// calls of the client library wait for as long as the connection lasts. discard
// gets what f returns too late.
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
