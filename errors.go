package tidings

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

var (
	// ErrClosed is returned for an event that is published after [EventBus.Close] was
	// called. Handlers whose events were accepted before may still publish, see Close.
	ErrClosed = errors.New("tidings: bus closed")

	// ErrTxDone is returned for an event that is published with the context of a
	// transaction that has committed or rolled back, or is being committed. Publish
	// with the context from outside the transaction instead.
	ErrTxDone = errors.New("tidings: transaction has already been committed or rolled back")

	// ErrMaxDepth is wrapped by the error for an event that would nest handlers
	// deeper than [WithMaxDepth] allows. The error shows the chain of events.
	ErrMaxDepth = errors.New("tidings: events nested too deeply")

	// ErrUnsubscribed is wrapped by the error for an event that a [Transport]
	// delivers to a handler after [Subscription.Unsubscribe]. The handler was not
	// called.
	ErrUnsubscribed = errors.New("no longer subscribed")

	// ErrQueueFull is wrapped by the error for an event that an [Async] handler does
	// not get because its queue is as long as [WithQueueLimit] allows.
	ErrQueueFull = errors.New("tidings: queue full")
)

// A HandlerError says which handler failed for which event. Unwrap returns the
// handler's own error.
type HandlerError struct {
	Handler string // the name given with Named, or the function's name
	Event   Event  // the event that the handler got
	Err     error  // the error that it returned, or a *PanicError
}

func (e *HandlerError) Error() string {
	return fmt.Sprintf("tidings: %s handling %s: %s", e.Handler, nameOf(e.Event), withoutPrefix(e.Err))
}

// withoutPrefix returns the text of an error within another of this package,
// such as that of a nested publish.
func withoutPrefix(err error) string { return strings.TrimPrefix(fmt.Sprint(err), "tidings: ") }

// A wrapped is like fmt.Errorf("tidings: %s: %w", text, err), for an err that
// may have the prefix itself.
type wrapped struct {
	text string
	err  error
}

func (w *wrapped) Error() string { return "tidings: " + w.text + ": " + withoutPrefix(w.err) }
func (w *wrapped) Unwrap() error { return w.err }

// Unwrap returns e.Err.
func (e *HandlerError) Unwrap() error { return e.Err }

// A PanicError reports a panic of a handler, or of another function that the bus
// called.
type PanicError struct {
	Value any    // the value passed to panic
	Stack []byte // from debug.Stack
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns e.Value if it is an error, and nil otherwise.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// parts returns the errors joined in err if all of them are HandlerErrors, and err
// itself otherwise.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs := joined.Unwrap()
		if len(errs) > 0 && !slices.ContainsFunc(errs, func(err error) bool { return !isHandlerError(err) }) {
			return errs
		}
	}
	return []error{err}
}

func isHandlerError(err error) bool {
	he := (*HandlerError)(nil)
	return errors.As(err, &he)
}

// protect calls fn and turns a panic into a *PanicError.
func protect(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return fn()
}

// errGoexit is the failure of a handler that ended its goroutine.
var errGoexit = errors.New("runtime.Goexit was called (t.FailNow, t.Skip and the like do)")
