package tidings

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// A txQueue holds everything that is published in one outermost
// transaction, in order of publishing. What a scope drops stays in the
// list, for its AfterRollback handlers; whether an item counts as rolled
// back is read off its scope.
type txQueue struct {
	mu          sync.Mutex // guards the list and the state of the scopes
	first, last item
	prepared    item // the last one that BeforeCommit was run for
	sealed      bool // nothing is accepted any more
	doomed      error
	implicit    bool // a publish outside a transaction, not a database's
}

// An item of a txQueue: an event, or a callback of OnCommit.
type item interface {
	entry() *queued
	bus() *EventBus
	name() string
	// awaits reports whether there is something to do in that phase.
	awaits(Phase) bool
	// run runs the handlers of that phase and returns what failed.
	run(ctx context.Context, phase Phase, tx *txState) []error
	// dispatch adds the event to out, for the transports of that phase.
	dispatch(phase Phase, out *outbox)
}

// queued is the part that all items have.
type queued struct {
	next  item
	scope *TxHook
	from  *node // where it was published
}

func (e *queued) entry() *queued { return e }

// add appends it to the queue, unless its scope has ended.
func (q *txQueue) add(it item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !it.entry().scope.openLocked() {
		return ErrTxDone
	}
	if q.last == nil {
		q.first = it
	} else {
		q.last.entry().next = it
	}
	q.last = it
	return nil
}

// unprepared returns the next item that BeforeCommit has not seen, or nil.
func (q *txQueue) unprepared() item {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.nextLocked()
	if it != nil {
		q.prepared = it
	}
	return it
}

func (q *txQueue) nextLocked() item {
	it := q.first
	if q.prepared != nil {
		it = q.prepared.entry().next
	}
	for it != nil && it.entry().scope.dropped() {
		it = it.entry().next
	}
	return it
}

// prepare runs BeforeCommit, also for what its handlers publish, and then
// seals the queue.
func (q *txQueue) prepare(ctx context.Context, tx *txState) error {
	for {
		var out outbox
		for it := q.unprepared(); it != nil; it = q.unprepared() {
			if errs := it.run(ctx, BeforeCommit, tx); len(errs) > 0 {
				return errors.Join(errs...)
			}
			it.dispatch(BeforeCommit, &out)
		}
		if err := out.send(ctx); err != nil {
			return err
		}
		if sealed, err := q.seal(); sealed {
			return err
		}
	}
}

// seal refuses further items, unless some came in that are not prepared.
// The error is why the transaction cannot commit.
func (q *txQueue) seal() (sealed bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = q.nextLocked() == nil
	return q.sealed, q.doomed
}

// doom keeps the transaction from committing.
func (q *txQueue) doom(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.doomed = err
}

// missed returns an item whose BeforeCommit handlers did not run, or nil.
func (q *txQueue) missed() item {
	for it := q.unprepared(); it != nil; it = q.unprepared() {
		if it.awaits(BeforeCommit) {
			return it
		}
	}
	return nil
}

// finish delivers, once the outermost transaction has ended: AfterCommit
// for what was committed, AfterRollback for the rest, in order of
// publishing. Transports come first, so that a handler that takes the
// process down does not take their events along. Failures go to fail.
func (q *txQueue) finish(ctx context.Context, fail func(context.Context, *EventBus, error)) {
	var out outbox
	for it := q.first; it != nil; it = it.entry().next {
		if !it.entry().scope.dropped() {
			it.dispatch(AfterCommit, &out)
		}
	}
	for _, b := range out.batches {
		for _, err := range sendErrors(b.transport, b.events, hand(ctx, b.transport, b.events)) {
			fail(ctx, b.bus, err)
		}
	}
	first := q.first
	q.first, q.last, q.prepared = nil, nil, nil // a context that is kept does not keep the events
	q.runFrom(ctx, first, fail)
}

// runFrom runs the handlers of it and all after it. If one of them ends the
// goroutine, the rest run in the deferred call: they are committed too.
func (q *txQueue) runFrom(ctx context.Context, it item, fail func(context.Context, *EventBus, error)) {
	defer func() {
		if it != nil {
			q.runFrom(ctx, it, report)
		}
	}()
	for it != nil {
		current := it
		it = it.entry().next
		phase := AfterCommit
		if current.entry().scope.dropped() {
			phase = AfterRollback
		}
		if current.awaits(phase) {
			for _, err := range current.run(ctx, phase, nil) {
				fail(ctx, current.bus(), err)
			}
		}
	}
}

// finishJoined is finish for a caller who wants the failures.
func (q *txQueue) finishJoined(ctx context.Context) error {
	var failures []failure
	returned := false
	defer func() {
		if !returned { // a handler ends the goroutine
			for _, f := range failures {
				f.bus.report(f.ctx, f.err)
			}
		}
	}()
	q.finish(ctx, func(ctx context.Context, bus *EventBus, err error) {
		failures = append(failures, failure{ctx, bus, err})
	})
	returned = true
	errs := make([]error, len(failures))
	for i, f := range failures {
		errs[i] = f.err
	}
	return errors.Join(errs...)
}

type failure struct {
	ctx context.Context
	bus *EventBus
	err error
}

// report is what finish calls for failures that have no caller left.
func report(ctx context.Context, bus *EventBus, err error) { bus.report(ctx, err) }

// An outbox collects events by transport.
type outbox struct{ batches []*batch }

type batch struct {
	bus       *EventBus
	transport Transport
	events    []Outgoing
}

// send hands everything over, and stops at the first transport that fails.
func (o *outbox) send(ctx context.Context) error {
	for _, b := range o.batches {
		if err := hand(ctx, b.transport, b.events); err != nil {
			return errors.Join(sendErrors(b.transport, b.events, err)...)
		}
	}
	return nil
}

func (o *outbox) add(bus *EventBus, t Transport, event Outgoing) {
	for _, b := range o.batches {
		if b.bus == bus && b.transport == t {
			b.events = append(b.events, event)
			return
		}
	}
	o.batches = append(o.batches, &batch{bus, t, []Outgoing{event}})
}

// A queuedEvent is an event that waits for the end of a transaction, with
// the handlers that were subscribed when it was published.
type queuedEvent[E Event] struct {
	queued
	topic    *topic[E]
	handlers *handlers[E]
	event    E
}

func (q *queuedEvent[E]) bus() *EventBus { return q.topic.bus }
func (q *queuedEvent[E]) name() string   { return q.topic.event.name }

func (q *queuedEvent[E]) awaits(phase Phase) bool {
	return q.handlers.lanes[phase] != nil || slices.ContainsFunc(q.handlers.routes, func(r *route) bool { return r.phase == phase })
}

func (q *queuedEvent[E]) run(ctx context.Context, phase Phase, tx *txState) []error {
	l := q.handlers.lanes[phase]
	if l != nil && q.handlers != q.topic.handlers.Load() {
		l = l.without(func(s *Subscription) bool { return s.removed.Load() })
	}
	if l == nil {
		return nil
	}
	bus := q.topic.bus
	s := bus.inflight.start()
	defer bus.inflight.finish(s)
	return q.topic.run(q.topic.newFrame(ctx, q.from, tx, &q.event), l, phase == InTransaction || phase == BeforeCommit)
}

func (q *queuedEvent[E]) dispatch(phase Phase, out *outbox) {
	for _, r := range q.handlers.routes {
		if r.phase == phase {
			out.add(q.topic.bus, r.transport, Outgoing{q.topic.copyBoxed(&q.event), r.keys})
		}
	}
}

// enqueue adds event, published in n, to the transaction of n, and runs the
// InTransaction handlers.
func (t *topic[E]) enqueue(ctx context.Context, n *node, h *handlers[E], event *E) error {
	hook := n.tx.hook
	if h.none {
		return hook.check()
	}
	t.stamp(n, event)
	q := &queuedEvent[E]{queued: queued{scope: hook, from: n}, topic: t, handlers: h, event: *event}
	if t.event.clone >= 0 { // the publisher may go on to change its own
		q.event = t.event.cloneBoxed(*event).(E)
	}
	if err := hook.queue.add(q); err != nil {
		return err
	}
	if errs := q.run(ctx, InTransaction, n.tx); len(errs) > 0 {
		return errors.Join(errs...)
	}
	var out outbox
	q.dispatch(InTransaction, &out)
	return out.send(ctx)
}

// publishAlone publishes outside a transaction where some of the handlers
// run before the commit: as a transaction of this event, and of those that
// these handlers publish.
func (t *topic[E]) publishAlone(ctx context.Context, h *handlers[E], event *E) error {
	hook := newTxHook(nil)
	hook.queue.implicit = true
	inside := hook.enter(ctx)
	ended := false
	defer func() {
		if !ended { // a handler ends the goroutine
			hook.rollback()
			hook.queue.finish(ctx, report)
		}
	}()
	err := t.enqueue(inside, inside, h, event)
	if err == nil {
		err = hook.Prepare(inside)
	}
	if err == nil {
		err = hook.commit()
	} else {
		hook.rollback()
	}
	ended = true
	return errors.Join(err, hook.queue.finishJoined(ctx))
}
