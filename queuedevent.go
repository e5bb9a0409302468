package tidings

import (
	"context"
	"slices"
	"unsafe"
)

// A queuedEvent is an event that waits for the end of a transaction, together with
// the handlers that were subscribed when it was published.
type queuedEvent struct {
	queued
	topic    *topic
	handlers *handlers
	header   *DomainEvent // inside the event
	encoded  []any        // by index of the route; nil without transports
}

func (q *queuedEvent) bus() *EventBus { return q.topic.bus }
func (q *queuedEvent) name() string   { return q.topic.event.name }

func (q *queuedEvent) awaits(phase Phase) bool {
	return len(q.handlers.lanes[phase]) > 0 || slices.ContainsFunc(q.handlers.routes, func(r *route) bool { return r.phase == phase })
}

func (q *queuedEvent) run(ctx context.Context, phase Phase, tx *txState) []failure {
	l := q.handlers.lanes[phase]
	if len(l) > 0 && q.topic.stale(q.handlers) {
		l = l.without(func(s *Subscription) bool { return s.removed.Load() })
	}
	if len(l) == 0 {
		return nil
	}
	t := q.topic
	if t.bus.drained.Load() {
		t = &topic{bus: t.bus, event: t.event, late: true}
	}
	n := t.nodeOf(ctx, q.from, tx, q.header)
	defer t.bus.inflight.Finish(t.bus.inflight.Start(unsafe.Pointer(n)))
	return n.run(l, phase == InTransaction || phase == BeforeCommit)
}

func (q *queuedEvent) dispatch(phase Phase, out outbox) (outbox, error) {
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
		event, err := q.topic.copyOf(q.header)
		if err != nil {
			return out, err
		}
		out = out.add(q.topic.bus, r.transport, Outgoing{event, keys, encodedFor(q.encoded, i), q.topic.bus})
	}
	return out, nil
}

// enqueue adds q to the transaction of n, the node in which it is published, and runs
// the InTransaction handlers.
func (q *queuedEvent) enqueue(ctx context.Context, n *node) error {
	t := q.topic
	if err := t.bus.admit(n); err != nil {
		return err
	}
	t.stamp(n, q.header)
	encoded, err := t.encode(ctx, q.handlers.routes, q.header)
	if err != nil {
		return err
	}
	if t.event.clone >= 0 { // the publisher may change its own copy later
		copied, err := t.copyOf(q.header)
		if err != nil {
			return err
		}
		q.header = t.event.unbox(copied)
	}
	q.encoded, q.from = encoded, n
	if err := add(n.scope(), q, &q.entry); err != nil {
		return err
	}
	if !q.handlers.early {
		return nil
	}
	if err := joined(q.run(ctx, InTransaction, n.transactions())); err != nil {
		return err
	}
	out, err := q.dispatch(InTransaction, nil)
	if err != nil {
		return err
	}
	return out.send(ctx)
}

// publishAlone publishes q outside a transaction if some of its handlers run before
// the commit. It treats q, and the events that these handlers publish, as one
// transaction.
func (q *queuedEvent) publishAlone(ctx context.Context) error {
	inside := newScope(ctx, nil, nil)
	hook := TxHook{inside.tx.scope}
	hook.scope.Queue().Implicit = true
	ended := false
	defer func() {
		if !ended { // a handler is ending the goroutine
			hook.scope.Rollback()
			hook.finish(outside(ctx), report)
		}
	}()
	err := q.enqueue(inside, inside)
	if err == nil {
		err = hook.Prepare(inside)
	}
	if err == nil && !hook.scope.Commit() {
		err = ErrTxDone
	}
	if err != nil {
		hook.scope.Rollback()
	}
	ended = true
	after := nodeFrom(ctx).withoutTx(ctx)
	if err != nil {
		after = outside(ctx) // AfterRollback handlers run even if ctx was cancelled
	}
	return hook.finishJoined(after, err)
}
