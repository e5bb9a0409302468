package durable

import (
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// Permanent returns err as one that no further attempt will cure: a handler
// that returns it is not called again for this event, and the job is dead.
// It returns nil if err is nil. What other transports have of this kind,
// relay.Permanent for example, counts as well: an error in the chain with a
// method Permanent() bool that returns true.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

func isPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

type permanentError struct{ err error }

func (e *permanentError) Error() string   { return e.err.Error() }
func (e *permanentError) Unwrap() error   { return e.err }
func (e *permanentError) Permanent() bool { return true } // to other transports

// RetryAfter returns err with the time to wait before the next attempt, in
// place of the [Backoff]: what the Retry-After of an HTTP response says, for
// example. The attempt counts. RetryAfter returns nil if err is nil, and
// panics if wait is negative.
func RetryAfter(err error, wait time.Duration) error {
	if wait < 0 {
		panic(fmt.Sprintf("durable: RetryAfter(%v): the wait cannot be negative", wait))
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

// errTaken is the error of an attempt whose job is no longer its own: it took
// so long that the job was given to another worker, or it was cancelled or
// deleted meanwhile. What the handler wrote has been rolled back.
var errTaken error = takenError{}

type takenError struct{}

func (takenError) Error() string {
	return "durable: the job is not this attempt's any more, so what the handler wrote is rolled back"
}

// ErrorsByID and Jobs are what River asks of the error of a batch: which jobs
// have failed. Here none has, so River leaves the job, which another attempt
// may be running, as it is.
func (takenError) ErrorsByID() map[int64]error { return nil }
func (takenError) Jobs() []*rivertype.JobRow   { return nil }

// errGoexit is the error of an attempt that has ended its goroutine.
var errGoexit = errors.New("durable: runtime.Goexit was called (t.FailNow, t.Skip and the like do)")
