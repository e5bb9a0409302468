package tidings

import (
	"fmt"
	"time"
)

// Attempts limits how often the transport of the handler calls it for one event;
// n is at least 1. Then the event becomes a dead job or a dead letter. The default is
// the transport's, and the last Attempts of a subscription applies.
//
// Attempts, [Backoff] and [Timeout] mean the same behind each [Transport] that
// retries. A handler without one, or [Async], is called once for an event, without
// a time limit.
func Attempts(n int) SubscribeOption {
	mustBePositive(n, "Attempts")
	return subscribeOption(func(s *settings) { s.handler.Attempts = n })
}

// Backoff sets the time that the transport of the handler waits after a failed
// attempt; attempts count from 1. The default is the transport's. A handler can
// override it with [RetryAfter]. See [Attempts].
func Backoff(wait func(attempt int) time.Duration) SubscribeOption {
	mustNotBeNil(wait == nil, "Backoff", "function")
	return subscribeOption(func(s *settings) { s.handler.Backoff = wait })
}

// Timeout limits the duration of one attempt, whose context then ends. The default
// is the transport's. See [Attempts].
func Timeout(d time.Duration) SubscribeOption {
	if d <= 0 {
		panic(fmt.Sprintf("tidings: Timeout(%v): must be positive", d))
	}
	return subscribeOption(func(s *settings) { s.handler.Timeout = d })
}

// Permanent marks err as permanent: a [Transport] that retries does not retry a
// handler that returns it for this event, which becomes a dead job or a dead
// letter at once. Permanent returns nil if err is nil.
//
// Transports look for an error in the chain with a method Permanent() bool that
// returns true, so an error type of your own can have one.
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

// RetryAfter returns err with the time to wait before the next attempt, in place
// of the transport's backoff: the Retry-After of an HTTP response, for example.
// The attempt counts. RetryAfter returns nil if err is nil, and panics if wait is
// negative.
//
// Transports look for an error in the chain with a method RetryAfter()
// time.Duration.
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
