package tidings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// A txQueue holds everything that is published in one outermost
// transaction, in order of publishing. What a scope drops stays in the
// list, for its AfterRollback handlers; whether an item counts as rolled
// back is read off its scope.
type txQueue struct {
	outermost   TxHook
	mu          sync.Mutex // guards the list and the state of the scopes
	first, last item
	prepared    item  // the last one that BeforeCommit was run for
	sealed      bool  // nothing is accepted any more
	failed      error // what Prepare returned
	implicit    bool  // a publish outside a transaction, not a database's
}

// init returns the outermost scope.
func (q *txQueue) init() *TxHook {
	q.outermost.queue = q
	return &q.outermost
}

// An item of a txQueue: an event, or a callback of OnCommit.
type item interface {
	entry() *queued
	bus() *EventBus
	name() string
	// awaits reports whether there is something to do in that phase.
	awaits(Phase) bool
	// run runs the handlers of that phase and returns what failed.
	run(ctx context.Context, phase Phase, tx *txState) []failure
	// dispatch returns out with the event added, for the transports of that phase.
	dispatch(phase Phase, out outbox) (outbox, error)
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
// seals the queue. A failure is final.
func (q *txQueue) prepare(ctx context.Context, tx *txState) error {
	q.mu.Lock()
	sealed, failed := q.sealed, q.failed
	q.mu.Unlock()
	if sealed || failed != nil {
		return failed
	}
	err := q.prepareAll(ctx, tx)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = err
	return err
}

func (q *txQueue) prepareAll(ctx context.Context, tx *txState) error {
	for !q.seal() {
		var ready []item
		for it := q.unprepared(); it != nil; it = q.unprepared() {
			if err := joined(it.run(ctx, BeforeCommit, tx)); err != nil {
				return err
			}
			if it.awaits(BeforeCommit) {
				ready = append(ready, it)
			}
		}
		var out outbox
		var err error
		for _, it := range ready {
			if out, err = it.dispatch(BeforeCommit, out); err != nil {
				return err
			}
		}
		if err := out.send(ctx); err != nil {
			return err
		}
	}
	return nil
}

// seal refuses further items, unless there are some that are not prepared.
func (q *txQueue) seal() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = q.nextLocked() == nil
	return q.sealed
}

// missed returns an error if the transaction has committed although
// BeforeCommit did not succeed for all that was published.
func (q *txQueue) missed() error {
	if q.failed != nil {
		return fmt.Errorf("tidings: TxHook.Commit although Prepare failed: %w", q.failed)
	}
	for it := q.unprepared(); it != nil; it = q.unprepared() {
		if it.awaits(BeforeCommit) {
			return fmt.Errorf("tidings: TxHook.Commit without Prepare: BeforeCommit handlers of %s did not run", it.name())
		}
	}
	return nil
}

// finish delivers, once the outermost transaction has ended: AfterCommit
// for what was committed, AfterRollback for the rest, in order of
// publishing. Transports come first, so that a handler that takes the
// process down does not take their events along. ctx is outside of the
// transaction. Each event's failures go to fail.
func (q *txQueue) finish(ctx context.Context, fail func([]failure)) {
	r := remainder{ctx: ctx, undispatched: q.first, undelivered: q.first}
	q.first, q.last, q.prepared = nil, nil, nil // a context that is kept does not keep the events
	r.work(fail)
}

// A remainder is what finish has still to do.
type remainder struct {
	ctx          context.Context
	undispatched item
	out          outbox
	undelivered  item
}

// work does it. If a handler ends the goroutine, it goes on in the
// deferred call, where failures can only be reported.
func (r *remainder) work(fail func([]failure)) {
	finished := false
	defer func() {
		if !finished {
			r.work(report)
		}
	}()
	for r.undispatched != nil {
		it := r.undispatched
		r.undispatched = it.entry().next
		if it.entry().scope.dropped() {
			continue
		}
		var err error
		if r.out, err = it.dispatch(AfterCommit, r.out); err != nil {
			fail([]failure{{r.ctx, it.bus(), err}})
		}
	}
	for len(r.out) > 0 {
		b := r.out[0]
		r.out = r.out[1:]
		fail(b.handAfter(r.ctx))
	}
	for r.undelivered != nil {
		it := r.undelivered
		r.undelivered = it.entry().next
		phase := AfterCommit
		if it.entry().scope.dropped() {
			phase = AfterRollback
		}
		fail(it.run(r.ctx, phase, nil))
	}
	finished = true
}

// finishJoined is finish for a caller who wants the failures, after err.
func (q *txQueue) finishJoined(ctx context.Context, err error) error {
	var failures []failure
	returned := false
	defer func() {
		if !returned { // the caller will not get them
			report(failures)
		}
	}()
	q.finish(ctx, func(f []failure) { failures = append(failures, f...) })
	returned = true
	if len(failures) == 0 {
		return err
	}
	if err == nil {
		return joined(failures)
	}
	return errors.Join(append(parts(err), parts(joined(failures))...)...)
}

// An outbox collects events by transport.
type outbox []*batch

// send hands everything over, and stops at the first transport that fails.
func (o outbox) send(ctx context.Context) error {
	for _, b := range o {
		if errs := b.hand(ctx); len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	return nil
}

func (o outbox) add(bus *EventBus, t Transport, event Outgoing) outbox {
	for _, b := range o {
		if b.bus == bus && b.transport == t {
			b.events = append(b.events, event)
			return o
		}
	}
	return append(o, &batch{bus, t, []Outgoing{event}})
}

// A queuedEvent is an event that waits for the end of a transaction, with
// the handlers that were subscribed when it was published.
type queuedEvent[E Event] struct {
	queued
	topic    *topic[E]
	handlers *handlers[E]
	event    E
	encoded  []any // by index of the route; nil without encoders
}

func (q *queuedEvent[E]) bus() *EventBus { return q.topic.bus }
func (q *queuedEvent[E]) name() string   { return q.topic.event.name }

func (q *queuedEvent[E]) awaits(phase Phase) bool {
	return q.handlers.lanes[phase] != nil || slices.ContainsFunc(q.handlers.routes, func(r *route) bool { return r.phase == phase })
}

func (q *queuedEvent[E]) run(ctx context.Context, phase Phase, tx *txState) []failure {
	l := q.handlers.lanes[phase]
	if l != nil && q.topic.stale(q.handlers) {
		l = l.without(func(s *Subscription) bool { return s.removed.Load() })
	}
	if l == nil {
		return nil
	}
	f := q.topic.newFrame(ctx, q.from, tx, &q.event)
	if q.topic.bus.drained.Load() {
		late := q.topic.topicInfo
		late.late = true
		f.place = &place{f.up, &late, f.tx}
	}
	stop := phase == InTransaction || phase == BeforeCommit
	q.topic.bus.inflight.start()
	defer q.topic.bus.inflight.finish()
	return q.topic.run(f, l, stop)
}

func (q *queuedEvent[E]) dispatch(phase Phase, out outbox) (outbox, error) {
	for i, r := range q.handlers.routes {
		if r.phase != phase {
			continue
		}
		keys := r.keys
		if q.topic.stale(q.handlers) {
			var any bool
			if keys, any = r.live(q.topic.bus); !any {
				continue
			}
		}
		event, err := q.topic.copyBoxed(&q.event)
		if err != nil {
			return out, err
		}
		out = out.add(q.topic.bus, r.transport, Outgoing{event, keys, encodedFor(q.encoded, i), q.topic.bus})
	}
	return out, nil
}

// enqueue adds event, published in n, to the transaction of n, and runs the
// InTransaction handlers.
func (t *topic[E]) enqueue(ctx context.Context, n *node, h *handlers[E], event *E) error {
	hook := n.hook()
	if err := t.bus.admit(n); err != nil {
		return err
	}
	if h.none {
		return hook.check()
	}
	isNew := t.stamp(n, event)
	encoded, err := t.encode(ctx, h.routes, event, isNew)
	if err != nil {
		return err
	}
	q := &queuedEvent[E]{queued: queued{scope: hook, from: n}, topic: t, handlers: h, event: *event, encoded: encoded}
	if t.event.clone >= 0 { // the publisher may go on to change its own
		copied, err := t.copyBoxed(event)
		if err != nil {
			return err
		}
		q.event = copied.(E)
	}
	if err := hook.queue.add(q); err != nil {
		return err
	}
	if !h.early {
		return nil
	}
	if err := joined(q.run(ctx, InTransaction, n.tx)); err != nil {
		return err
	}
	out, err := q.dispatch(InTransaction, nil)
	if err != nil {
		return err
	}
	return out.send(ctx)
}

// publishAlone publishes outside a transaction where some of the handlers
// run before the commit: as a transaction of this event, and of those that
// these handlers publish.
func (t *topic[E]) publishAlone(ctx context.Context, h *handlers[E], event *E) error {
	inside := newScope(ctx, nil)
	hook := inside.tx.hook
	hook.queue.implicit = true
	ended := false
	defer func() {
		if !ended { // a handler ends the goroutine
			hook.rollback()
			hook.queue.finish(outside(ctx), report)
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
	after := nodeFrom(ctx).withoutTx(ctx)
	if err != nil {
		after = outside(ctx) // a cancellation may be why, and what it led to is to be undone
	}
	return hook.queue.finishJoined(after, err)
}
