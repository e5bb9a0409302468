package tidings

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

func (t *topic[E]) publishBoxed(ctx context.Context, event Event) error {
	e := event.(E)
	return t.publish(ctx, &e)
}

func (t *topic[E]) publish(ctx context.Context, event *E) error {
	if t.err != nil {
		return t.err
	}
	if ctx.Done() != nil { // else there is no Err
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	n := nodeFrom(ctx)
	h := t.handlers.Load()
	if n != nil {
		if n.depth() >= t.bus.maxDepth {
			return depthError(n, t.event, t.bus.maxDepth)
		}
		if hook := n.hook(); hook != nil {
			return t.enqueue(ctx, n, h, event)
		}
	}
	if h.none {
		return t.bus.admit(n)
	}
	token := t.bus.inflight.token.Load()
	if token == nil || !h.plain {
		return t.publishCounted(ctx, n, h, event)
	}
	t.stamp(n, event)
	failures := t.run(t.newFrame(ctx, n, nil, event), h.lanes[AfterCommit], false)
	t.bus.inflight.release(token)
	return joined(failures)
}

// publishCounted is publish where there is more than AfterCommit handlers of
// this process, and on a closed bus.
func (t *topic[E]) publishCounted(ctx context.Context, n *node, h *handlers[E], event *E) error {
	t.bus.inflight.start()
	defer t.bus.inflight.finish()
	if err := t.bus.admit(n); err != nil {
		return err
	}
	if h.early {
		return t.publishAlone(ctx, h, event)
	}
	isNew := t.stamp(n, event)
	encoded, err := t.encode(ctx, h.routes, event, isNew)
	if err != nil {
		return err
	}
	var failures []failure
	for i, r := range h.routes {
		copied, err := t.copyBoxed(event)
		b := batch{t.bus, r.transport, []Outgoing{{copied, r.keys, encodedFor(encoded, i), t.bus}}}
		if err != nil {
			b.events[0].Event = *event
			failures = append(failures, b.failures(ctx, b.refused(err))...)
			continue
		}
		failures = append(failures, b.handAfter(n.withoutTx(ctx))...)
	}
	if l := h.lanes[AfterCommit]; l != nil {
		failures = append(failures, t.run(t.newFrame(ctx, n, nil, event), l, false)...)
	}
	return joined(failures)
}

// admit returns ErrClosed for what is published in n after Close began,
// unless it belongs to the work that was accepted before: while Close waits,
// what is published in a handler, and after that, what a late one publishes.
// (Whether a handler has returned meanwhile is not looked at: to note that
// would cost every publish an atomic write.)
func (b *EventBus) admit(n *node) error {
	if b.closed.Load() && !n.within(b, b.drained.Load()) {
		return ErrClosed
	}
	return nil
}

// deliver runs the handler of sub for an event that arrived for it.
func (t *topic[E]) deliver(ctx context.Context, event Event, sub *Subscription) error {
	n := nodeFrom(ctx)
	t.bus.inflight.start()
	defer t.bus.inflight.finish()
	if err := t.bus.admit(n); err != nil {
		return err
	}
	e := event.(E)
	l := &lane[E]{[]func(context.Context, E) error{t.callOf(sub)}, []*Subscription{sub}}
	return joined(t.run(t.newFrame(ctx, n, n.transactions(), &e), l, false))
}

// contextOf returns a context like that of event's handlers, for what is
// reported about them.
func (t *topic[E]) contextOf(ctx context.Context, event Event) context.Context {
	e := event.(E)
	return t.newFrame(ctx, nodeFrom(ctx), nil, &e)
}

// A failure is an error, and the context of the handler that it is from.
type failure struct {
	ctx context.Context
	bus *EventBus
	err error
}

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

// report passes failures that have no caller left to the error handlers.
func report(failures []failure) {
	for _, f := range failures {
		f.bus.report(f.ctx, f.err)
	}
}

// run calls the handlers of l, each with its own copy of f's event, and
// returns what failed. With stop it ends at the first failure.
func (t *topic[E]) run(f *frame[E], l *lane[E], stop bool) []failure {
	r := run[E]{topic: t, frame: f, lane: l, stop: stop}
	for !r.pass() {
	}
	return r.failures
}

// A run is the state of topic.run, which survives a panicking handler.
type run[E Event] struct {
	topic    *topic[E]
	frame    *frame[E]
	lane     *lane[E]
	next     int // the handler to call next
	stop     bool
	failures []failure
}

// pass calls handlers until all are called or one panics. It recovers once
// for all of them, which costs less than once for each, and then reports
// that it has to be called again.
func (r *run[E]) pass() (done bool) {
	defer func() {
		if !done {
			done = r.interrupted(recover())
		}
	}()
	if done := r.frame.Done(); done == nil {
		r.plainly()
	} else {
		r.carefully(done)
	}
	return true
}

// plainly calls the handlers: what most events need, and all they pay for.
func (r *run[E]) plainly() {
	var ctx context.Context = r.frame
	event := r.frame.event
	for _, call := range r.lane.calls[r.next:] {
		r.next++
		if err := call(ctx, event); err != nil && r.fail(err) {
			return
		}
	}
}

// carefully calls the handlers as long as the context is not cancelled.
func (r *run[E]) carefully(cancelled <-chan struct{}) {
	total := len(r.lane.calls)
	for r.next < total {
		if closed(cancelled) {
			err := fmt.Errorf("tidings: %d of %d handlers of %s skipped: %w", total-r.next, total, r.topic.event.name, r.frame.Err())
			r.failures = append(r.failures, failure{r.frame, r.topic.bus, err})
			return
		}
		call := r.lane.calls[r.next]
		r.next++
		if err := call(r.frame, r.frame.event); err != nil && r.fail(err) {
			return
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// interrupted notes that a handler has panicked with p or, where p is nil,
// is ending the goroutine. In the latter case the other handlers run here,
// within the deferred call, and what failed is reported, since the caller
// of the bus will not return. In a transaction there is nothing to save:
// it rolls back. It reports whether the run is over.
func (r *run[E]) interrupted(p any) bool {
	if p != nil {
		return r.fail(&PanicError{Value: p, Stack: debug.Stack()})
	}
	if !r.fail(errGoexit) {
		for !r.pass() {
		}
	}
	report(r.failures)
	return true
}

// fail notes that the handler just called has failed. It reports whether the
// run is over.
func (r *run[E]) fail(err error) bool {
	event, cloneErr := r.topic.copyBoxed(&r.frame.event)
	if cloneErr != nil {
		event = r.frame.event // better the shared one than none
	}
	sub := r.lane.subs[r.next-1]
	r.failures = append(r.failures, failure{r.frame, r.topic.bus, &HandlerError{Handler: sub.name, Event: event, Err: err}})
	return r.stop
}
