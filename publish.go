package tidings

import (
	"context"
	"reflect"
	"unsafe"
)

// Publish delivers event to the handlers that are subscribed to its type, or to an
// interface that it implements. If the event has no header yet, Publish fills it in.
//
// Outside a transaction the handlers run now, in this goroutine and in the order of
// subscription, or phase by phase if they are subscribed to several, see [Phase].
// Publish returns their failures, each as a [*HandlerError], joined with [errors.Join].
//
// Inside a transaction ([InTx], [Transact], [NewTxHook]) only InTransaction handlers
// run now, and Publish returns the first failure. The other handlers wait for the
// commit. Failures after the commit go to the bus's error handler, or
// [TxHook.Commit] returns them.
//
// If ctx is cancelled, Publish returns ctx.Err(); if that happens while handlers run,
// Publish skips the remaining ones and returns an error that says so. Other errors wrap
// [ErrClosed], [ErrTxDone] or [ErrMaxDepth]. Publish refuses an event type through which
// handlers could share memory (see Events are immutable in the package
// documentation), and calls no handler then.
//
// Publish is safe to call concurrently and inside a handler. Inside a handler outside
// a transaction it is depth first: the new event's handlers run before Publish returns.
func Publish[E Event](ctx context.Context, bus *EventBus, event E) error {
	t, n, h, err := bus.begin(ctx, reflect.TypeFor[E]())
	switch {
	case t == nil && err == nil: // E is an interface
		return bus.publishBoxed(ctx, event)
	case h == nil:
		return err
	case h.early || n.scope() != nil:
		q := &struct {
			queued queuedEvent
			event  E
		}{queuedEvent{queued{from: n}, t, h, nil, nil}, event}
		q.queued.header = headerIn(&q.event, t.event)
		return t.publishQueued(ctx, &q.queued)
	}
	f := &struct {
		node  node
		event E
	}{node{ctx, n, t, nil, nil}, event}
	f.node.header = headerIn(&f.event, t.event)
	handlers, ok := h.direct.(handlerFuncs[E])
	if !ok {
		return t.publishNow(ctx, &f.node, h)
	}
	t.stamp(n, f.node.header) // before it is counted: the clock may panic
	counted := bus.inflight.Start(unsafe.Pointer(&event))
	if bus.closed.Load() {
		if err := bus.admit(n); err != nil {
			bus.inflight.Finish(counted)
			return err
		}
	}
	r := run{node: &f.node, lane: h.lanes[AfterCommit], inflight: counted}
	for !handlers.pass(&r, &f.event) {
	}
	bus.inflight.Finish(counted)
	return joined(r.failures)
}

// begin returns the topic of typ, the innermost node of ctx, and the handlers of an
// event that is published with ctx. If h is nil, Publish has nothing more to do than
// to return err, which may be nil. If t and err are both nil, typ is an interface.
func (b *EventBus) begin(ctx context.Context, typ reflect.Type) (t *topic, n *node, h *handlers, err error) {
	if b == nil {
		return nil, nil, nil, errNilBus
	}
	if ctx == nil {
		return nil, nil, nil, errNilContext
	}
	topics := b.topics.Load()
	if topics == nil {
		return nil, nil, nil, errZeroBus("Publish")
	}
	if t = topics.Get(typ); t == nil {
		if typ.Kind() == reflect.Interface {
			return nil, nil, nil, nil
		}
		t = b.topicOf(typ)
	}
	if t.err != nil {
		return t, nil, nil, t.err
	}
	if ctx.Done() != nil { // otherwise ctx.Err is always nil
		if err := ctx.Err(); err != nil {
			return t, nil, nil, err
		}
	}
	n, h = nodeFrom(ctx), t.handlers.Load()
	if n != nil && n.depth() >= b.maxDepth {
		return t, n, nil, depthError(n, t.event, b.maxDepth)
	}
	if h.none {
		return t, n, nil, t.publishUnhandled(n)
	}
	return t, n, h, nil
}

func (t *topic) publishUnhandled(n *node) error {
	if err := t.bus.admit(n); err != nil {
		return err
	}
	if s := n.scope(); s != nil {
		return check(s)
	}
	return nil
}

// publishBoxed publishes an event whose static type is an interface.
func (b *EventBus) publishBoxed(ctx context.Context, event Event) error {
	if event == nil {
		return errNilEvent
	}
	t, n, h, err := b.begin(ctx, reflect.TypeOf(event))
	if h == nil {
		return err
	}
	header := t.event.unbox(event)
	if h.early || n.scope() != nil {
		return t.publishQueued(ctx, &queuedEvent{queued{from: n}, t, h, header, nil})
	}
	return t.publishNow(ctx, t.nodeOf(ctx, n, nil, header), h)
}

// publishNow publishes the event of n outside a transaction, first to transports and
// then to AfterCommit handlers. n is a new node for these handlers.
func (t *topic) publishNow(ctx context.Context, n *node, h *handlers) error {
	bus := t.bus
	defer bus.inflight.Finish(bus.inflight.Start(unsafe.Pointer(n)))
	if err := bus.admit(n.up); err != nil {
		return err
	}
	t.stamp(n.up, n.header)
	encoded, err := t.encode(ctx, h.routes, n.header)
	if err != nil {
		return err
	}
	var failures []failure
	for i, r := range h.routes {
		copied, err := t.copyOf(n.header)
		b := batch{bus, r.transport, []Outgoing{{copied, r.keys, encodedFor(encoded, i), bus}}}
		if err != nil {
			b.events[0].Event = t.event.box(n.header)
			failures = append(failures, b.failures(ctx, b.refused(err))...)
			continue
		}
		failures = append(failures, b.handAfter(n.up.withoutTx(ctx))...)
	}
	return joined(append(failures, n.run(h.lanes[AfterCommit], false)...))
}

// publishQueued publishes q in the transaction that it was published in, or in an
// implicit one for q alone.
func (t *topic) publishQueued(ctx context.Context, q *queuedEvent) error {
	if q.from.scope() != nil {
		return q.enqueue(ctx, q.from)
	}
	bus := t.bus
	defer bus.inflight.Finish(bus.inflight.Start(unsafe.Pointer(q)))
	return q.publishAlone(ctx)
}
