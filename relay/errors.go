package relay

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrClosed is wrapped by the errors of a relay after [Relay.Close].
var ErrClosed = errors.New("the relay is closed")

// ErrTooLarge is wrapped by the errors of a [Broker] for a message that is
// larger than the broker takes.
var ErrTooLarge = errors.New("the message is larger than the broker accepts")

// An UnreachableError is returned by [Open] if the broker does not answer, or
// rejects the credentials: the address may be right, and it may be worth trying
// again.
type UnreachableError struct {
	Broker     string        // its URL, without the password
	RetryAfter time.Duration // when to try again
	Err        error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("relay: the broker %s cannot be reached (try again in %v): %v", e.Broker, e.RetryAfter, e.Err)
}

// Unwrap returns e.Err.
func (e *UnreachableError) Unwrap() error { return e.Err }

// errGoexit is the error of an attempt that has ended its goroutine.
var errGoexit = errors.New("relay: runtime.Goexit was called (t.FailNow, t.Skip and the like do)")

// A wrapped is like fmt.Errorf("relay: %s: %w", text, err), for an err that may
// have the prefix itself.
type wrapped struct {
	text string
	err  error
}

func (w *wrapped) Error() string {
	return "relay: " + w.text + ": " + strings.TrimPrefix(w.err.Error(), "relay: ")
}

func (w *wrapped) Unwrap() error { return w.err }
