package tidings

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"sync/atomic"
)

// A topic is the registry of one event type: the handlers of its events.
// Where code publishes the type only behind an interface, E is Event, and
// gives way to a topic of the type itself once that is used statically.
type topic[E Event] struct {
	topicInfo
	boxes    bool // E is Event
	handlers atomic.Pointer[handlers[E]]
}

// topicInfo is what there is to know of a topic without its E.
type topicInfo struct {
	bus   *EventBus
	event *eventType
	err   error // why its events are refused
}

// anyTopic is a *topic[E] to code that does not know E. The bus's mu is
// held for add and remove.
type anyTopic interface {
	add(*Subscription)
	remove(*Subscription)
	publishBoxed(context.Context, Event) error
	deliver(context.Context, Event, *Subscription) error
}

// handlers is a snapshot of who handles the events of a topic. It is
// immutable, so an event keeps to the snapshot that it was published with.
type handlers[E Event] struct {
	lanes  [phases]*lane[E]
	routes []*route
	plain  bool // all of them run after the commit or rollback
	none   bool
}

// A lane holds the handlers of one phase, in order of subscription. Lanes
// share arrays: a longer lane is made by appending beyond the end of the
// shorter one, which is never written again; removing copies.
type lane[E Event] struct {
	calls []func(context.Context, E) error
	subs  []*Subscription
}

func newTopic[E Event](bus *EventBus, typ reflect.Type) *topic[E] {
	t := &topic[E]{topicInfo: topicInfo{bus: bus, event: describe(typ)}}
	t.boxes = typ != reflect.TypeFor[E]()
	if t.err = t.event.err; t.err == nil {
		t.err = bus.immutable.check(t.event)
	}
	h := &handlers[E]{}
	if bus.transport != nil {
		h.routes = []*route{{transport: bus.transport, phase: bus.transport.Phase()}}
	}
	t.store(h)
	return t
}

// store publishes a snapshot, after deriving its flags.
func (t *topic[E]) store(h *handlers[E]) {
	h.plain = h.lanes[InTransaction] == nil && h.lanes[BeforeCommit] == nil
	for _, r := range h.routes {
		h.plain = h.plain && r.phase == AfterCommit
	}
	h.none = len(h.routes) == 0 && h.lanes == [phases]*lane[E]{}
	t.handlers.Store(h)
}

func (t *topic[E]) mustAccept() {
	if t.err != nil {
		panic(t.err.Error())
	}
}

func (t *topic[E]) add(sub *Subscription) {
	h := *t.handlers.Load()
	if sub.transport == nil {
		l := lane[E]{}
		if old := h.lanes[sub.phase]; old != nil {
			l = *old
		}
		l.calls, l.subs = append(l.calls, t.callOf(sub)), append(l.subs, sub)
		h.lanes[sub.phase] = &l
	} else {
		h.routes = slices.Clone(h.routes)
		i := slices.IndexFunc(h.routes, func(r *route) bool { return r.transport == sub.transport })
		if i < 0 {
			i = len(h.routes)
			h.routes = append(h.routes, &route{transport: sub.transport, phase: sub.phase})
		}
		r := *h.routes[i]
		r.subs, r.keys = append(r.subs, sub), append(r.keys, sub.key())
		h.routes[i] = &r
	}
	t.store(&h)
}

func (t *topic[E]) remove(sub *Subscription) {
	h := *t.handlers.Load()
	if l := h.lanes[sub.phase]; l != nil {
		h.lanes[sub.phase] = l.without(func(s *Subscription) bool { return s == sub })
	}
	h.routes = slices.Clone(h.routes)
	for i, r := range h.routes {
		if at := slices.Index(r.subs, sub); at >= 0 {
			rest := *r
			rest.subs = slices.Delete(slices.Clone(r.subs), at, at+1)
			rest.keys = slices.Delete(slices.Clone(r.keys), at, at+1)
			h.routes[i] = &rest
		}
	}
	h.routes = slices.DeleteFunc(h.routes, func(r *route) bool {
		return len(r.subs) == 0 && r.transport != t.bus.transport
	})
	t.store(&h)
}

// without returns a copy of l less some subscriptions, nil if none is left.
func (l *lane[E]) without(gone func(*Subscription) bool) *lane[E] {
	rest := &lane[E]{}
	for i, sub := range l.subs {
		if !gone(sub) {
			rest.calls, rest.subs = append(rest.calls, l.calls[i]), append(rest.subs, sub)
		}
	}
	if len(rest.subs) == 0 {
		return nil
	}
	return rest
}

// callOf returns sub's handler as one for E.
func (t *topic[E]) callOf(sub *Subscription) func(context.Context, E) error {
	if call, ok := sub.call.(func(context.Context, E) error); ok {
		return call
	}
	call := sub.call.(func(context.Context, Event) error)
	return func(ctx context.Context, event E) error { return call(ctx, event) }
}

func (t *topic[E]) publishBoxed(ctx context.Context, event Event) error {
	e := event.(E)
	return t.publish(ctx, &e)
}

func (t *topic[E]) publish(ctx context.Context, event *E) error {
	if t.err != nil {
		return t.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n := nodeFrom(ctx)
	if n != nil && int(n.depth) >= t.bus.maxDepth {
		return depthError(n, t.event, t.bus.maxDepth)
	}
	h := t.handlers.Load()
	if h.none && (n == nil || n.tx == nil) {
		return t.bus.admit(n)
	}
	s := t.bus.inflight.start()
	defer t.bus.inflight.finish(s)
	if err := t.bus.admit(n); err != nil {
		return err
	}
	if n != nil && n.tx != nil && n.tx.hook != nil {
		return t.enqueue(ctx, n, h, event)
	}
	t.stamp(n, event)
	if !h.plain {
		return t.publishAlone(ctx, h, event)
	}
	var errs []error
	for _, r := range h.routes {
		out := []Outgoing{{t.copyBoxed(event), r.keys}}
		errs = append(errs, sendErrors(r.transport, out, hand(ctx, r.transport, out))...)
	}
	if l := h.lanes[AfterCommit]; l != nil {
		errs = append(errs, t.run(t.newFrame(ctx, n, nil, event), l, false)...)
	}
	return errors.Join(errs...)
}

// admit returns ErrClosed for what is published in n after Close.
func (b *EventBus) admit(n *node) error {
	if b.closed.Load() && !n.within(b) {
		return ErrClosed
	}
	return nil
}

// deliver runs the handler of sub for an event that arrived for it.
func (t *topic[E]) deliver(ctx context.Context, event Event, sub *Subscription) error {
	n := nodeFrom(ctx)
	s := t.bus.inflight.start()
	defer t.bus.inflight.finish(s)
	if err := t.bus.admit(n); err != nil {
		return err
	}
	var tx *txState
	if n != nil {
		tx = n.tx
	}
	e := event.(E)
	l := &lane[E]{[]func(context.Context, E) error{t.callOf(sub)}, []*Subscription{sub}}
	return errors.Join(t.run(t.newFrame(ctx, n, tx, &e), l, false)...)
}

// run calls the handlers of l, each with its own copy of f's event, and
// returns what failed. With stop it ends at the first failure.
func (t *topic[E]) run(f *frame[E], l *lane[E], stop bool) []error {
	r := run[E]{topic: t, frame: f, lane: l, stop: stop}
	for !r.pass() {
	}
	f.ended.Store(true)
	return r.errs
}

// A run is the state of topic.run, which survives a panicking handler.
type run[E Event] struct {
	topic *topic[E]
	frame *frame[E]
	lane  *lane[E]
	next  int // the handler to call next
	stop  bool
	errs  []error
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
	f, calls := r.frame, r.lane.calls
	var ctx context.Context = f
	cancelled, clones := f.Done(), r.topic.event.clone >= 0
	for r.next < len(calls) {
		if cancelled != nil && closed(cancelled) {
			r.errs = append(r.errs, fmt.Errorf("tidings: %d of %d handlers of %s skipped: %w",
				len(calls)-r.next, len(calls), r.topic.event.name, f.Err()))
			break
		}
		if clones {
			f = r.topic.ownFrame(r.frame)
			ctx = f
		}
		call := calls[r.next]
		r.next++
		if err := call(ctx, f.event); err != nil {
			r.fail(f, err)
			if r.stop {
				break
			}
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

// interrupted notes that a handler has panicked with p or, where p is nil,
// is ending the goroutine. In the latter case the other handlers run here,
// within the deferred call, and what failed is reported, since the caller
// of the bus will not return. In a transaction there is nothing to save:
// it rolls back. It reports whether the run is over.
func (r *run[E]) interrupted(p any) bool {
	if p != nil {
		r.fail(r.frame, &PanicError{Value: p, Stack: debug.Stack()})
		return r.stop
	}
	defer r.frame.ended.Store(true)
	r.fail(r.frame, errGoexit)
	if !r.stop {
		for !r.pass() {
		}
	}
	for _, err := range r.errs {
		r.topic.bus.report(r.frame, err)
	}
	return true
}

func (r *run[E]) fail(f *frame[E], err error) {
	sub := r.lane.subs[r.next-1]
	r.errs = append(r.errs, &HandlerError{Handler: sub.name, Event: f.boxed(), Err: err})
}

// ownFrame returns a copy of f for one handler of an event that has a Clone
// method. No other handler sees what this one does to its event.
func (t *topic[E]) ownFrame(f *frame[E]) *frame[E] {
	event := t.event.cloneBoxed(f.event).(E)
	return t.newFrame(f.Context, f.up, f.tx, &event)
}

// copyBoxed returns a copy of event that its receiver may keep.
func (t *topic[E]) copyBoxed(event *E) Event {
	if t.event.clone >= 0 {
		return t.event.cloneBoxed(*event)
	}
	return *event
}
