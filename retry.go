package tidings

import (
	"fmt"
	"time"
)

// Attempts limits how often the transport calls the handler for one event. n is at
// least 1. After the last attempt the event becomes a dead job or a dead letter. The
// default is the transport's; if a subscription has several Attempts, the last one
// applies.
//
// Attempts, [Backoff] and [Timeout] mean the same for every [Transport] that retries.
// A handler without a transport, or with [Async], is called once for each event,
// without a time limit.
func Attempts(n int) SubscribeOption {
	mustBePositive(n, "Attempts")
	return subscribeOption(func(s *settings) { s.handler.Attempts = n })
}

// Backoff sets how long the transport waits before it retries the handler after a
// failed attempt. attempt counts from 1. The default is the transport's. The handler
// can override the wait with [RetryAfter]. See [Attempts].
func Backoff(wait func(attempt int) time.Duration) SubscribeOption {
	mustNotBeNil(wait == nil, "Backoff", "function")
	return subscribeOption(func(s *settings) { s.handler.Backoff = wait })
}

// Timeout limits how long one attempt may take: then its context ends. The default is
// the transport's. See [Attempts].
func Timeout(d time.Duration) SubscribeOption {
	if d <= 0 {
		panic(fmt.Sprintf("tidings: Timeout(%v): must be positive", d))
	}
	return subscribeOption(func(s *settings) { s.handler.Timeout = d })
}

// Permanent marks err as permanent. If a handler returns it, a [Transport] does not
// retry the handler for this event: the event becomes a dead job or a dead letter
// immediately. Permanent returns nil if err is nil.
//
// Transports look in the error chain for an error with a method Permanent() bool that
// returns true, so your own error types can have that method.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Permanent() bool { return true }

// RetryAfter returns err together with the time to wait before the next attempt. It
// overrides the transport's backoff, for example with the Retry-After header of an
// HTTP response. The failed attempt still counts. RetryAfter returns nil if err is
// nil, and panics if wait is negative.
//
// Transports look in the error chain for an error with a method RetryAfter()
// time.Duration, so your own error types can have that method.
func RetryAfter(err error, wait time.Duration) error {
	if wait < 0 {
		panic(fmt.Sprintf("tidings: RetryAfter(%v): the wait cannot be negative", wait))
	}
	if err == nil {
		return nil
	}
	return &retryAfterError{err, wait}
}

type retryAfterError struct {
	err  error
	wait time.Duration
}

func (e *retryAfterError) Error() string             { return e.err.Error() }
func (e *retryAfterError) Unwrap() error             { return e.err }
func (e *retryAfterError) RetryAfter() time.Duration { return e.wait }
