package tidings

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"runtime"
	"slices"
	"strings"
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

	sub := &Subscription{bus: bus, event: reflect.TypeFor[E](), name: functionName(reflect.ValueOf(handler).Pointer())}
	var caller [1]uintptr
	runtime.Callers(2, caller[:])
	sub.caller = caller[0]
	s := settings{sub: sub}
	SubscribeOptions(opts).subscribe(&s)
	middleware := slices.Concat(bus.middleware, s.middleware)

	// The event in a frame is never handed out: what calls the handler
	// copies it first, each time that a middleware calls it as well.
	if s.once {
		handler = onlyOnce(sub, handler)
	}
	if sub.event.Kind() == reflect.Interface {
		call := func(ctx context.Context, source boxer) error { return handler(ctx, source.boxed().(E)) }
		if len(middleware) > 0 {
			chain := compose(func(ctx context.Context, d Delivery) error { return handler(ctx, d.Event().(E)) }, middleware)
			call = func(ctx context.Context, source boxer) error { return chain(ctx, Delivery{sub, source}) }
		}
		sub.call = call
	} else {
		t := topicFor[E](bus)
		t.mustAccept()
		call := handler
		if t.event.clone >= 0 {
			call = func(ctx context.Context, event E) error { return handler(ctx, t.event.cloneBoxed(event).(E)) }
		}
		if len(middleware) > 0 {
			inner := call
			chain := compose(func(ctx context.Context, d Delivery) error { return inner(ctx, d.source.(*frame[E]).event) }, middleware)
			call = func(ctx context.Context, _ E) error { return chain(ctx, Delivery{sub, ctx.(boxer)}) }
		}
		sub.call = call
	}
	s.finish()
	bus.subscribe(sub)
	return sub
}

// onlyOnce lets the calls for one event pass, the first that gets here, and
// unsubscribes. There are several calls if a middleware tries again.
func onlyOnce[E Event](sub *Subscription, handler func(context.Context, E) error) func(context.Context, E) error {
	var first atomic.Pointer[uuid.UUID]
	return func(ctx context.Context, event E) error {
		id := event.EventID()
		if first.CompareAndSwap(nil, &id) {
			sub.Unsubscribe()
		} else if *first.Load() != id {
			return nil
		}
		return handler(ctx, event)
	}
}

// A Subscription is one handler on one bus.
type Subscription struct {
	bus       *EventBus
	event     reflect.Type // E: a struct or an interface
	name      string
	phase     Phase
	named     bool
	removed   atomic.Bool
	transport Transport // nil: called by the publisher
	sender    Transport // of transport, see Broadcaster
	stop      func()    // see Broadcaster; or nil
	serial    uint64    // tells Async handlers without a name apart; else 0
	caller    uintptr   // program counter of the call of Subscribe

	// call is a func(context.Context, E) error, or where E is an interface
	// a func(context.Context, boxer) error. The context of the former is a
	// *frame[E], and the boxer of the latter the frame.
	call any
}

// Unsubscribe ends the subscription: no event that is published after it
// has returned reaches the handler, and no event queued in a transaction
// that commits after it. A phase that is under way goes on to the handlers
// that it began with. What a transport has accepted already is still
// delivered by [Async]; elsewhere it fails, so that the transport keeps it.
// Unsubscribe is idempotent, safe to call concurrently and inside
// any handler, also the one that it removes.
func (s *Subscription) Unsubscribe() {
	if s.bus.unsubscribe(s) && s.stop != nil {
		s.stop()
	}
}

// Active reports whether the subscription has not ended.
func (s *Subscription) Active() bool { return !s.removed.Load() }

// accepts reports whether events of type typ, a struct, are for s.
func (s *Subscription) accepts(typ reflect.Type) bool {
	return s.event == typ || s.event.Kind() == reflect.Interface && typ.Implements(s.event)
}

// subscribe adds sub. The name is taken first, then the transport told, then
// events routed: no event is sent for a name that nobody handles.
func (b *EventBus) subscribe(sub *Subscription) {
	if other := b.reserve(sub); other != nil {
		panic(fmt.Sprintf("tidings: Subscribe: a handler named %q exists already, subscribed at %s; stored jobs and queues are bound to names, so each handler needs its own",
			sub.name, other.Info().location()))
	}
	if sub.transport != nil {
		if err := sub.register(); err != nil {
			b.unsubscribe(sub)
			panic(fmt.Sprintf("tidings: Subscribe: %T does not take the handler %q: %v", sub.transport, sub.name, err))
		}
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

// unsubscribe reports whether it has ended the subscription.
func (b *EventBus) unsubscribe(sub *Subscription) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if sub.removed.Swap(true) {
		return false
	}
	if i := slices.Index(b.subs, sub); i >= 0 {
		b.subs = slices.Delete(b.subs, i, i+1)
	}
	if sub.named {
		delete(b.named, sub.name)
	}
	for t := range b.topicsOfLocked(sub) {
		t.remove(sub)
	}
	if sub.transport == b.async {
		b.async.forget(sub.key())
	}
	return true
}

// topicsOfLocked yields the registries of the event types that sub is for.
func (b *EventBus) topicsOfLocked(sub *Subscription) iter.Seq[anyTopic] {
	return func(yield func(anyTopic) bool) {
		topics := *b.topics.Load()
		if sub.event.Kind() != reflect.Interface {
			yield(topics[idOf(sub.event)])
			return
		}
		for _, t := range topics {
			if sub.accepts(t.info().event.typ) && !yield(t) {
				return
			}
		}
	}
}

// Deliver calls the handler that was [Named] handler for event, here and
// now, as a transport does when an event arrives for it: for a replay, or a
// second attempt. The handler's middleware runs, other handlers do not, and
// ctx decides which transaction it is in. The event must be stamped.
//
// The error is the handler's, a [*HandlerError], or says that there is no
// such handler, or that it does not handle this type of event. Otherwise it
// is as for [Publish]. Deliver is safe to call concurrently and inside a
// handler.
func (b *EventBus) Deliver(ctx context.Context, handler string, event Event) error {
	if ctx == nil || event == nil {
		return errors.New("tidings: Deliver with a nil context or event")
	}
	if b.topics.Load() == nil {
		return errZeroBus("Deliver")
	}
	info := b.topicOf(event).info()
	if info.err != nil {
		return info.err
	}
	if event.EventID() == uuid.Nil {
		return fmt.Errorf("tidings: Deliver of a %T without a header: publish it, or use Stamp", event)
	}
	if n := nodeFrom(ctx); n.depth() >= b.maxDepth {
		return depthError(n, info.event, b.maxDepth)
	}
	b.mu.RLock()
	sub := b.named[handler]
	b.mu.RUnlock()
	if sub == nil {
		return fmt.Errorf("tidings: there is no handler named %q: Subscribe one with Named(%[1]q) first", handler)
	}
	return sub.run(ctx, event)
}

// A SubscriptionInfo describes a subscription, see [EventBus.Subscriptions].
type SubscriptionInfo struct {
	EventType reflect.Type // E of Subscribe, a struct or an interface
	Handler   string       // the name given with Named, or the function's
	Phase     Phase        // of a transport: when it is handed the event
	Transport Transport    // nil if the publisher calls the handler itself
	File      string       // where Subscribe was called
	Line      int
}

// Info returns what [EventBus.Subscriptions] has of the subscription, also
// when that has ended.
func (s *Subscription) Info() SubscriptionInfo {
	frame, _ := runtime.CallersFrames([]uintptr{s.caller}).Next()
	return SubscriptionInfo{
		EventType: s.event, Handler: s.name, Phase: s.phase, Transport: s.transport,
		File: frame.File, Line: frame.Line,
	}
}

func (i SubscriptionInfo) location() string { return fmt.Sprintf("%s:%d", i.File, i.Line) }

// functionName returns "crm.onAccepted" for the function with that entry.
func functionName(pc uintptr) string {
	name := runtime.FuncForPC(pc).Name()
	name = name[strings.LastIndexByte(name, '/')+1:]
	return strings.TrimSuffix(name, "-fm") // a method value
}
