package durable

import (
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// Permanent marks err as permanent: a handler that returns it is not retried
// for this event, and the job is dead. It returns nil if err is nil. Permanent
// errors of other transports, such as relay.Permanent, count as well: an error
// in the chain with a method Permanent() bool that returns true.
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
func (e *permanentError) Permanent() bool { return true } // for other transports

// RetryAfter returns err with the time to wait before the next attempt, which
// replaces the [Backoff]: the Retry-After of an HTTP response, for example. The
// attempt counts. RetryAfter returns nil if err is nil, and panics if wait is
// negative.
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

// errTaken is the error of an attempt that has lost its job: it took so long
// that another worker got the job, or the job was cancelled or deleted
// meanwhile. The handler's writes have been rolled back.
var errTaken error = takenError{}

type takenError struct{}

func (takenError) Error() string {
	return "durable: the job is not this attempt's any more, so what the handler wrote is rolled back"
}

// River calls ErrorsByID and Jobs on the error of a batch to learn which jobs
// have failed. Here none has, so River does not change the job, which another
// attempt may be running.
func (takenError) ErrorsByID() map[int64]error { return nil }
func (takenError) Jobs() []*rivertype.JobRow   { return nil }

// errGoexit is the error of an attempt that has ended its goroutine.
var errGoexit = errors.New("durable: runtime.Goexit was called (t.FailNow, t.Skip and the like do)")
