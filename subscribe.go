package tidings

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
)

// Subscribe registers handler for events of type E: from now on, the bus calls
// handler for every event of type E that is published on it. If E is an interface,
// the handler receives every event that implements E; a handler of [Event] receives
// all events.
//
// Without options, handler runs once the publisher's transaction has committed, or
// immediately if there is no transaction, in the publisher's goroutine. It is called
// from several goroutines at once if several goroutines publish. Each handler gets
// its own copy of the event. Its context carries the event, so that events published
// with that context get the same correlation ID.
//
// The same function may be subscribed several times; each call makes a separate
// subscription. Subscribe panics if bus is nil or the zero EventBus, if handler is
// nil, if handlers could share memory through E, if another handler has the same name
// ([Named]), if options contradict each other, and if the transport of [Via] refuses
// the handler. Subscribe is safe to call concurrently. Inside a handler it takes
// effect from the next event.
func Subscribe[E Event](bus *EventBus, handler func(context.Context, E) error, opts ...SubscribeOption) *Subscription {
	bus.mustBeMade("Subscribe")
	mustNotBeNil(handler == nil, "Subscribe", "handler")
	sub := newSubscription(bus, reflect.TypeFor[E](), reflect.ValueOf(handler).Pointer())
	// The event of a node is never passed to user code: sub.call copies it first,
	// also each time that a middleware calls the handler again.
	if copies := sub.event.Kind() == reflect.Interface || describe(sub.event).clone >= 0; copies {
		sub.call = func(ctx context.Context, n *node) error { return handler(ctx, n.boxed().(E)) }
	} else {
		sub.call = func(ctx context.Context, n *node) error {
			return handler(ctx, *eventIn[E](n.header, n.topic.event))
		}
		sub.handler, sub.appendFuncs = handler, appendHandlers[E]
	}
	sub.subscribe(opts)
	return sub
}

// newSubscription returns the Subscription for events of type typ and the function
// whose entry is at that address. Subscribe calls it directly, which runtime.Callers
// relies on.
func newSubscription(bus *EventBus, typ reflect.Type, function uintptr) *Subscription {
	s := &Subscription{bus: bus, event: typ, name: functionName(function)}
	runtime.Callers(3, s.callers[:])
	return s
}

// subscribe applies opts to s and adds s to its bus.
func (s *Subscription) subscribe(opts []SubscribeOption) {
	options := settings{sub: s}
	SubscribeOptions(opts).subscribe(&options)
	if s.event.Kind() != reflect.Interface {
		s.bus.topicOf(s.event).mustAccept()
	}
	if options.once {
		s.call, s.handler, s.appendFuncs = onlyOnce(s, s.call), nil, nil
	}
	if middleware := slices.Concat(s.bus.middleware, options.middleware); len(middleware) > 0 {
		chain := compose(s.call, middleware)
		s.call = func(ctx context.Context, n *node) error { return chain(ctx, Delivery{s, n}) }
		s.handler, s.appendFuncs = nil, nil
	}
	options.finish()
	s.bus.subscribe(s, options.handler)
}

// onlyOnce unsubscribes sub at the first call, and then lets only calls for the same
// event pass. There are several such calls if a middleware retries.
func onlyOnce(sub *Subscription, call handlerCall) handlerCall {
	var first atomic.Pointer[uuid.UUID]
	return func(ctx context.Context, n *node) error {
		id := n.header.id
		if first.CompareAndSwap(nil, &id) {
			sub.Unsubscribe()
		} else if *first.Load() != id {
			return nil
		}
		return call(ctx, n)
	}
}

// subscribe adds sub, with the options h for its transport. It takes the name first,
// then tells the transport, then routes events: no event is sent to a name that has
// no handler.
func (b *EventBus) subscribe(sub *Subscription, h Handler) {
	if other := b.reserve(sub); other != nil {
		panic(fmt.Sprintf("tidings: Subscribe: a handler named %q exists already, subscribed at %s; stored jobs and queues are bound to names, so each handler needs its own",
			sub.name, other.Info().location()))
	}
	if sub.transport != nil {
		h.Name, h.EventType, h.Deliver, h.Subscription = sub.key(), sub.event, sub.deliver, sub
		stop, err := sub.transport.Handle(h)
		if err != nil {
			b.unsubscribe(sub)
			panic(fmt.Sprintf("tidings: Subscribe: %T refuses the handler %q: %v", sub.transport, sub.name, err))
		}
		sub.stop = stop
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = append(b.subs, sub)
	for t := range b.topicsOfLocked(sub) {
		t.add(sub)
	}
}

// reserve takes the name of sub, or returns the subscription that already has the
// name.
func (b *EventBus) reserve(sub *Subscription) *Subscription {
	if !sub.named {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if other := b.named[sub.name]; other != nil {
		return other
	}
	b.named[sub.name] = sub
	return nil
}

// compose wraps call in middleware; the first middleware is the outermost.
func compose(call handlerCall, middleware []Middleware) HandlerFunc {
	chain := func(ctx context.Context, d Delivery) error {
		return protect(func() error { return call(ctx, d.node) })
	}
	for i := len(middleware) - 1; i >= 0; i-- {
		if chain = middleware[i](chain); chain == nil {
			panic("tidings: a Middleware returned a nil HandlerFunc")
		}
	}
	return chain
}
