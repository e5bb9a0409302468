package tidings

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// A node is what tidings keeps in a context. The innermost one answers
// everything: whoever derives a context takes over what the outer one says
// and changes what is new. Nodes do not change once handed out, but for ended.
type node struct {
	context.Context

	head  *DomainEvent // whence published events take correlation and causation; nil: a new workflow
	up    *node        // the next node outward; for handlers, where their event was published
	topic *topicInfo   // in the context of handlers: of their event; else nil
	tx    *txState     // transactions, innermost first; nil outside
	depth int32        // how many handlers are nested here
	ended atomic.Bool  // the handlers have returned
}

type nodeKey struct{}

// nodeFrom returns the innermost node of ctx, or nil.
func nodeFrom(ctx context.Context) *node {
	n, _ := ctx.Value(nodeKey{}).(*node)
	return n
}

func (n *node) Value(key any) any {
	if _, ok := key.(nodeKey); ok {
		return n
	}
	return n.Context.Value(key)
}

// child returns a node on top of ctx that says what n, which may be nil, says.
func (n *node) child(ctx context.Context) *node {
	if n == nil {
		return &node{Context: ctx}
	}
	return &node{Context: ctx, up: n, head: n.head, tx: n.tx, depth: n.depth}
}

// within reports whether n lies inside a handler of bus that still runs.
func (n *node) within(bus *EventBus) bool {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.bus == bus && !n.ended.Load() {
			return true
		}
	}
	return false
}

// clock returns that of the bus whose handler n belongs to; nil: time.Now.
func (n *node) clock() func() time.Time {
	for ; n != nil; n = n.up {
		if n.topic != nil {
			return n.topic.bus.clock
		}
	}
	return nil
}

// A frame is the context of the handlers of one event, which it carries:
// one allocation for both.
type frame[E Event] struct {
	node
	event E
}

type eventKey struct{}

func (f *frame[E]) Value(key any) any {
	switch key.(type) {
	case nodeKey:
		return &f.node
	case eventKey:
		return f.boxed()
	}
	return f.Context.Value(key)
}

// boxed returns a copy of the event that the caller may keep.
func (f *frame[E]) boxed() Event {
	if f.topic.event.clone >= 0 {
		return f.topic.event.cloneBoxed(f.event)
	}
	return f.event
}

// newFrame returns a frame for event, published in up, whose handlers see
// the values of ctx and the transactions of tx.
func (t *topic[E]) newFrame(ctx context.Context, up *node, tx *txState, event *E) *frame[E] {
	f := &frame[E]{event: *event}
	f.Context, f.up, f.topic, f.tx, f.depth = ctx, up, &t.topicInfo, tx, up.nextDepth()
	f.head = t.headerOf(&f.event)
	return f
}

func (n *node) nextDepth() int32 {
	if n == nil {
		return 1
	}
	return n.depth + 1
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

// stamp fills in the header of *event, published in n, unless it has one.
func (t *topic[E]) stamp(n *node, event *E) {
	if t.boxes {
		*event = any(t.event.stampBoxed(n, t.bus.clock, *event)).(E)
	} else if head := headerAt(event, t.event.header); head.id == uuid.Nil {
		*head = newHeader(n, t.bus.clock)
	}
}
