package tidings

import (
	"context"
	"time"
)

// A node is what tidings keeps in a context. The innermost one answers
// everything, if need be by asking the one further out. Nodes are immutable.
type node struct {
	context.Context
	*place
}

// A place says where in the flow of events a node is. It is apart, so that
// all handlers of a topic outside of everything else share one.
type place struct {
	up    *node      // the next node outward; that of a handler: where its event was published
	topic *topicInfo // what was entered here: a handler, mostly; nil where only tx changes
	tx    *txState   // transactions, innermost first; nil outside
}

// newNode returns a node on top of ctx, in one allocation.
func newNode(ctx context.Context, p place) *node {
	n := &struct {
		node
		at place
	}{node{Context: ctx}, p}
	n.place = &n.at
	return &n.node
}

type nodeKey struct{}

// nodeFrom returns the innermost node of ctx, or nil. All methods of a node
// accept nil, which is outside of everything.
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

// transactions returns those that n is in, innermost first; nil outside.
func (n *node) transactions() *txState {
	if n == nil {
		return nil
	}
	return n.tx
}

// hook returns the innermost scope of a transaction, nil outside.
func (n *node) hook() *TxHook {
	if s := n.transactions(); s != nil {
		return s.hook
	}
	return nil
}

// depth returns how many handlers are nested here.
func (n *node) depth() (depth int) {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.event != nil {
			depth++
		}
	}
	return depth
}

// origin returns whence events published here take their correlation and,
// from its ID, their causation.
func (n *node) origin() DomainEvent {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.header != nil {
			return n.topic.header(n)
		}
	}
	return DomainEvent{}
}

// within reports whether n lies inside a handler of bus, or with late inside
// one that was called after Close had returned, for an event of a
// transaction that committed then.
func (n *node) within(bus *EventBus, late bool) bool {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.bus == bus && (n.topic.late || !late) {
			return true
		}
	}
	return false
}

// clock returns that of the bus whose handler n belongs to; nil: time.Now.
func (n *node) clock() func() time.Time {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.bus != nil {
			return n.topic.bus.clock
		}
	}
	return nil
}

// A frame is the context of the handlers of one event, which it carries:
// one allocation for both.
type frame[E Event] struct {
	node  // first, see newTopic
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
func (f *frame[E]) boxed() Event { return f.topic.event.copyBoxed(f.event) }

// newFrame returns a frame for event, published in up, whose handlers see
// the values of ctx and the transactions of tx.
func (t *topic[E]) newFrame(ctx context.Context, up *node, tx *txState, event *E) *frame[E] {
	if up == nil && tx == nil {
		return &frame[E]{node{ctx, &t.outermost}, *event}
	}
	f := &struct {
		frame[E]
		at place
	}{frame[E]{node{Context: ctx}, *event}, place{up, &t.topicInfo, tx}}
	f.place = &f.at
	return &f.frame
}
