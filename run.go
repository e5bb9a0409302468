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

// A run calls the handlers of a lane for the event of node. Each handler gets its own
// copy. A run is the state that remains when a handler panics.
type run struct {
	node     *node
	lane     lane
	next     int  // the handler to call next
	stop     bool // at the first failure
	inflight *inflight.Shard
	failures []failure
}

// run calls the handlers of l with the event of n, and returns the failures. With
// stop it ends at the first failure.
func (n *node) run(l lane, stop bool) []failure {
	r := run{node: n, lane: l, stop: stop}
	r.finish()
	return r.failures
}

// finish calls the remaining handlers.
func (r *run) finish() {
	for !r.pass() {
	}
}

// pass calls handlers until all were called or one panics. It recovers once for all
// of them, which costs less than once for each. After a panic it returns false, and
// must be called again.
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

// handlerFuncs holds the handlers of a lane if the bus only has to call them, as in
// most lanes. This is the only part of the engine that is compiled for each event
// type: calling a handler through code that does not know E would cost more than
// everything else.
type handlerFuncs[E Event] []func(context.Context, E) error

// appendHandlers appends the handlers of l to funcs, which is a handlerFuncs[E] or
// nil. It returns nil if the bus must do more than call one of them.
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

// pass does the same as run.pass.
func (handlers handlerFuncs[E]) pass(r *run, event *E) (done bool) {
	defer func() {
		if !done {
			done = r.interrupted(recover())
		}
	}()
	var ctx context.Context = r.node
	cancelled, e := ctx.Done(), *event
	if cancelled == nil { // as for most events, for which this check is the only cost
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

// skip records that the context was cancelled before the next handler.
func (r *run) skip() {
	total, t := len(r.lane), r.node.topic
	err := fmt.Errorf("tidings: %d of %d handlers of %s skipped: %w", total-r.next, total, t.event.name, r.node.Err())
	r.failures = append(r.failures, failure{r.node, t.bus, err})
}

// interrupted records that a handler has panicked with p or, if p is nil, is ending
// the goroutine. In the second case the remaining handlers run here, inside the
// deferred call, and failures are reported, since the caller of the bus will not
// return. In a transaction the remaining handlers do not run: it rolls back.
// interrupted reports whether the run is over.
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

// fail records that the handler called last has failed. It reports whether the run is
// over.
func (r *run) fail(err error) bool {
	t := r.node.topic
	event, cloneErr := t.copyOf(r.node.header)
	if cloneErr != nil {
		event = t.event.box(r.node.header) // a shared event is better than none
	}
	sub := r.lane[r.next-1]
	r.failures = append(r.failures, failure{r.node, t.bus, &HandlerError{Handler: sub.name, Event: event, Err: err}})
	return r.stop
}
