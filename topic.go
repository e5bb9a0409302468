package tidings

import (
	"fmt"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
)

// A topic holds the handlers for one event type on one bus. Nodes that do not belong
// to a handler have a topic with fewer fields set.
type topic struct {
	bus      *EventBus
	event    *eventType
	err      error // why the bus refuses its events
	handlers atomic.Pointer[handlers]
	late     bool // for handlers that are called after Close has returned
}

// handlers is a snapshot of the handlers of a topic. It is immutable, so an event
// keeps the snapshot that was current when it was published.
type handlers struct {
	lanes  [phases]lane
	routes []*route
	funcs  any  // the AfterCommit handlers as handlerFuncs; nil if the bus must do more than call one of them
	direct any  // funcs if there is nothing else to call; otherwise nil
	none   bool // there are no handlers and no transports
	early  bool // some handler runs, or some transport sends, before the commit
}

// A lane holds the handlers of one phase, in the order of subscription. Snapshots
// share arrays: a longer lane is made by appending behind the end of the shorter one,
// and elements are never overwritten. Removing a handler copies the lane. The same
// holds for funcs.
type lane []*Subscription

// A route is a transport through which events of one type are sent, together with the
// handlers that it runs. Routes are immutable.
type route struct {
	transport Transport
	phase     Phase
	subs      []*Subscription
	keys      []string
}

// live returns the keys of the handlers in r that are still subscribed, and whether
// there is anything to send.
func (r *route) live(bus *EventBus) (keys []string, any bool) {
	for i, sub := range r.subs {
		if !sub.removed.Load() {
			keys = append(keys, r.keys[i])
		}
	}
	return keys, len(keys) > 0 || r.transport == bus.transport
}

func newTopic(bus *EventBus, typ reflect.Type) *topic {
	t := &topic{bus: bus, event: describe(typ)}
	if t.err = t.event.err; t.err == nil {
		t.err = bus.immutable.check(t.event)
	}
	h := &handlers{}
	if bus.transport != nil {
		h.routes = []*route{{transport: bus.transport, phase: bus.transport.Phase()}}
	}
	t.store(h)
	return t
}

// store publishes a snapshot, after it has computed the fields that depend on others.
func (t *topic) store(h *handlers) {
	empty := func(l lane) bool { return len(l) == 0 }
	h.none = len(h.routes) == 0 && !slices.ContainsFunc(h.lanes[:], func(l lane) bool { return !empty(l) })
	h.early = !empty(h.lanes[InTransaction]) || !empty(h.lanes[BeforeCommit]) ||
		slices.ContainsFunc(h.routes, func(r *route) bool { return r.phase != AfterCommit })
	h.direct = nil
	if !h.early && len(h.routes) == 0 {
		h.direct = h.funcs
	}
	t.handlers.Store(h)
}

// stale reports whether subscriptions may have ended since h was current.
func (t *topic) stale(h *handlers) bool { return h != t.handlers.Load() }

func (t *topic) mustAccept() {
	if t.err != nil {
		panic(t.err.Error())
	}
}

// add adds sub. The caller holds the bus's mu, as for remove.
func (t *topic) add(sub *Subscription) {
	h := *t.handlers.Load()
	if sub.transport == nil {
		l := h.lanes[sub.phase]
		h.lanes[sub.phase] = append(l, sub)
		if sub.phase == AfterCommit {
			h.funcs = lane{sub}.appendTo(h.funcs, len(l) == 0)
		}
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

func (t *topic) remove(sub *Subscription) {
	h := *t.handlers.Load()
	h.lanes[sub.phase] = h.lanes[sub.phase].without(func(s *Subscription) bool { return s == sub })
	h.funcs = h.lanes[AfterCommit].appendTo(nil, true)
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

// appendTo appends the handlers of l to funcs, which holds all earlier handlers, or
// is empty. It returns nil if there are no handlers, or if the bus must do more than
// call one of them.
func (l lane) appendTo(funcs any, empty bool) any {
	if len(l) == 0 || l[0].appendFuncs == nil || funcs == nil && !empty {
		return nil
	}
	return l[0].appendFuncs(funcs, l)
}

// without returns a copy of l without the subscriptions for which gone returns true.
func (l lane) without(gone func(*Subscription) bool) lane {
	return slices.DeleteFunc(slices.Clone(l), gone)
}

// copyOf returns a copy of the event with that header, which its receiver may keep.
// It returns an error if the event's Clone method panics.
func (t *topic) copyOf(header *DomainEvent) (copied Event, err error) {
	if t.event.clone < 0 {
		return t.event.box(header), nil
	}
	err = protect(func() error {
		copied = t.event.copyOf(header)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tidings: %s.Clone: %w", t.event.name, err)
	}
	return copied, nil
}

// stamp fills in the header of an event that is published in n, unless it is filled
// in already.
func (t *topic) stamp(n *node, header *DomainEvent) {
	if header.id == uuid.Nil {
		header.stamp(n.origin(), t.bus.clock)
	}
}
