package tidings

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/google/uuid"
)

// A topic is the registry of one event type: the handlers of its events.
// Where code publishes the type only behind an interface, E is Event, and
// gives way to a topic of the type itself once that is used statically.
type topic[E Event] struct {
	topicInfo
	boxes     bool  // E is Event
	outermost place // of handlers that are called outside of everything
	handlers  atomic.Pointer[handlers[E]]
}

// topicInfo is what there is to know of a topic without its E. Nodes that
// stand for something else than a handler have one with less in it.
type topicInfo struct {
	bus    *EventBus
	event  *eventType
	err    error                   // why its events are refused
	header func(*node) DomainEvent // of the event in a frame, or what passes for it
	late   bool                    // for handlers called after Close has returned
}

// anyTopic is a *topic[E] to code that does not know E. The bus's mu is
// held for add and remove.
type anyTopic interface {
	info() *topicInfo
	add(*Subscription)
	remove(*Subscription)
	retire()
	publishBoxed(context.Context, Event) error
	deliver(context.Context, Event, *Subscription) error
	contextOf(context.Context, Event) context.Context
}

// handlers is a snapshot of who handles the events of a topic. It is
// immutable, so an event keeps to the snapshot that it was published with.
type handlers[E Event] struct {
	lanes   [phases]*lane[E]
	routes  []*route
	none    bool // there is nobody
	plain   bool // there are AfterCommit handlers, called by the publisher, and at most AfterRollback ones
	early   bool // some handler or transport has its turn before the commit
	retired bool // another topic has replaced this one, and hears of changes
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
	t.outermost.topic = &t.topicInfo
	t.header = func(n *node) DomainEvent {
		f := (*frame[E])(unsafe.Pointer(n)) // whose first field n is
		return *t.headerOf(&f.event)
	}
	if t.err = t.event.err; t.err == nil {
		t.err = bus.immutable.check(t.event)
	}
	h := &handlers[E]{}
	if bus.transport != nil {
		h.routes = []*route{{transport: bus.sender, phase: bus.sender.Phase()}}
	}
	t.store(h)
	return t
}

// store publishes a snapshot, after deriving its flags.
func (t *topic[E]) store(h *handlers[E]) {
	h.none = len(h.routes) == 0 && h.lanes == [phases]*lane[E]{}
	h.early = h.lanes[InTransaction] != nil || h.lanes[BeforeCommit] != nil ||
		slices.ContainsFunc(h.routes, func(r *route) bool { return r.phase != AfterCommit })
	h.plain = h.lanes[AfterCommit] != nil && !h.early && len(h.routes) == 0
	t.handlers.Store(h)
}

// retire marks t as replaced.
func (t *topic[E]) retire() {
	h := *t.handlers.Load()
	h.retired = true
	t.store(&h)
}

// stale reports whether subscriptions may have ended since h was current.
func (t *topic[E]) stale(h *handlers[E]) bool {
	now := t.handlers.Load()
	return h != now || now.retired
}

func (t *topic[E]) info() *topicInfo { return &t.topicInfo }

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
		i := slices.IndexFunc(h.routes, func(r *route) bool { return r.transport == sub.sender })
		if i < 0 {
			i = len(h.routes)
			h.routes = append(h.routes, &route{transport: sub.sender, phase: sub.phase})
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
		return len(r.subs) == 0 && r.transport != t.bus.sender
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
	call := sub.call.(func(context.Context, boxer) error)
	return func(ctx context.Context, _ E) error { return call(ctx, ctx.(boxer)) }
}

// copyBoxed returns a copy of event that its receiver may keep. The error is
// a panic of its Clone method.
func (t *topic[E]) copyBoxed(event *E) (copied Event, err error) {
	if t.event.clone < 0 {
		return *event, nil
	}
	err = protect(func() error {
		copied = t.event.cloneBoxed(*event)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tidings: %s.Clone: %w", t.event.name, err)
	}
	return copied, nil
}

// headerOf returns the header of *event: in place where E is a struct, of a
// copy where it is boxed.
func (t *topic[E]) headerOf(event *E) *DomainEvent {
	if t.boxes {
		h := (*event).domainEvent()
		return &h
	}
	return headerAt(event, t.event.header)
}

// stamp fills in the header of *event, published in n, unless it has one,
// and reports whether it did.
func (t *topic[E]) stamp(n *node, event *E) bool {
	if t.boxes {
		isNew := (*event).EventID() == uuid.Nil
		*event = any(t.event.stampBoxed(n, t.bus.clock, *event)).(E)
		return isNew
	}
	head := headerAt(event, t.event.header)
	if head.id != uuid.Nil {
		return false
	}
	head.stamp(n, t.bus.clock)
	return true
}
