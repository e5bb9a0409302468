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

// Subscribe calls handler for every event of type E that is published on
// bus from now on. E may be an interface: the handler then receives every
// event that implements it, all of them for [Event] itself.
//
// Without options the handler runs once the publisher's transaction has
// committed, and at once where there is none, in the publisher's goroutine.
// It is called from several goroutines if several publish. Each handler
// has its own copy of the event, and a context that carries the event, so
// that what it publishes is correlated.
//
// The same function may be subscribed several times; each call is a
// subscription of its own. Subscribe panics on a nil or zero bus, a nil
// handler, an event type that handlers could share memory through, a second
// handler of the same [Named] name, options that contradict each other, and
// what the transport of [Via] refuses. It is safe to call concurrently;
// inside a handler it takes effect from the next event.
func Subscribe[E Event](bus *EventBus, handler func(context.Context, E) error, opts ...SubscribeOption) *Subscription {
	bus.mustBeMade("Subscribe")
	mustNotBeNil(handler == nil, "Subscribe", "handler")
	sub := newSubscription(bus, reflect.TypeFor[E](), reflect.ValueOf(handler).Pointer())
	// The event of a node is never handed out: what calls the handler copies it
	// first, each time that a middleware calls it as well.
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

// newSubscription returns what Subscribe, which calls it, makes for events of type
// typ and the function with that entry.
func newSubscription(bus *EventBus, typ reflect.Type, function uintptr) *Subscription {
	s := &Subscription{bus: bus, event: typ, name: functionName(function)}
	runtime.Callers(3, s.callers[:])
	return s
}

// subscribe adds s, with these options, to its bus.
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

// onlyOnce lets the calls for one event pass, the first that gets here, and
// unsubscribes. There are several calls if a middleware tries again.
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

// subscribe adds sub, with what its transport is told. The name is taken first, then
// the transport told, then events routed: no event is sent to a name without a
// handler.
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

// reserve takes sub's name, or returns the subscription that has it.
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

// compose wraps call in middleware, the first outermost.
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
