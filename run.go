package tidings

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/tidings-go/tidings/internal/inflight"
)

func joined(failures []failure) error {
	if failures == nil {
		return nil
	}
	errs := make([]error, len(failures))
	for i, f := range failures {
		errs[i] = f.err
	}
	return errors.Join(errs...)
}

// A run calls the handlers of a lane for the event of node, each with its own
// copy. It is the state that survives a handler's panic.
type run struct {
	node     *node
	lane     lane
	next     int  // the handler to call next
	stop     bool // at the first failure
	inflight *inflight.Shard
	failures []failure
}

// run calls the handlers of l with the event of n, and returns what failed. With
// stop it ends at the first failure.
func (n *node) run(l lane, stop bool) []failure {
	r := run{node: n, lane: l, stop: stop}
	r.finish()
	return r.failures
}

// finish calls the handlers that are left.
func (r *run) finish() {
	for !r.pass() {
	}
}

// pass calls handlers until all are called or one panics. It recovers once
// for all of them, which costs less than once for each, and then reports
// that it has to be called again.
func (r *run) pass() (done bool) {
	defer func() {
		if !done {
			done = r.interrupted(recover())
		}
	}()
	cancelled := r.node.Done()
	for _, sub := range r.lane[r.next:] {
		if cancelled != nil && closed(cancelled) {
			r.skip()
			return true
		}
		r.next++
		if err := sub.call(r.node, r.node); err != nil && r.fail(err) {
			return true
		}
	}
	return true
}

// handlerFuncs are the handlers of a lane that takes nothing but to call them,
// which most lanes are. It is all of the engine that is compiled for each event
// type: to call through it what does not know E would cost more than the rest.
type handlerFuncs[E Event] []func(context.Context, E) error

// appendHandlers appends the handlers of l to funcs, which are handlerFuncs[E] or
// nil. It returns nil if one of them takes more than a call.
func appendHandlers[E Event](funcs any, l lane) any {
	all, _ := funcs.(handlerFuncs[E])
	for _, sub := range l {
		handler, ok := sub.handler.(func(context.Context, E) error)
		if !ok {
			return nil
		}
		all = append(all, handler)
	}
	return all
}

// pass is run.pass.
func (handlers handlerFuncs[E]) pass(r *run, event *E) (done bool) {
	defer func() {
		if !done {
			done = r.interrupted(recover())
		}
	}()
	var ctx context.Context = r.node
	cancelled, e := ctx.Done(), *event
	if cancelled == nil { // as for most events, which pay for no more than this
		for _, handler := range handlers[r.next:] {
			r.next++
			if err := handler(ctx, e); err != nil && r.fail(err) {
				return true
			}
		}
		return true
	}
	for _, handler := range handlers[r.next:] {
		if closed(cancelled) {
			r.skip()
			return true
		}
		r.next++
		if err := handler(ctx, e); err != nil && r.fail(err) {
			return true
		}
	}
	return true
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// skip notes that the context was cancelled before the next handler.
func (r *run) skip() {
	total, t := len(r.lane), r.node.topic
	err := fmt.Errorf("tidings: %d of %d handlers of %s skipped: %w", total-r.next, total, t.event.name, r.node.Err())
	r.failures = append(r.failures, failure{r.node, t.bus, err})
}

// interrupted notes that a handler has panicked with p or, where p is nil,
// is ending the goroutine. In the latter case the other handlers run here,
// within the deferred call, and what failed is reported, since the caller
// of the bus will not return. In a transaction there is nothing to save:
// it rolls back. It reports whether the run is over.
func (r *run) interrupted(p any) bool {
	if p != nil {
		return r.fail(&PanicError{Value: p, Stack: debug.Stack()})
	}
	if !r.fail(errGoexit) {
		r.finish()
	}
	report(r.failures)
	if r.inflight != nil {
		r.node.topic.bus.inflight.Finish(r.inflight)
	}
	return true
}

// fail notes that the handler just called has failed. It reports whether the
// run is over.
func (r *run) fail(err error) bool {
	t := r.node.topic
	event, cloneErr := t.copyOf(r.node.header)
	if cloneErr != nil {
		event = t.event.box(r.node.header) // better the shared one than none
	}
	sub := r.lane[r.next-1]
	r.failures = append(r.failures, failure{r.node, t.bus, &HandlerError{Handler: sub.name, Event: event, Err: err}})
	return r.stop
}
