package tidings

import (
	"context"
	"reflect"

	"github.com/google/uuid"
)

// Stamp returns event with its header filled in, as [Publish] would do. Use it to
// record an event before you publish it. If event has a header already, Stamp returns
// it unchanged. Inside a handler, the correlation ID, the causation ID and the bus's
// clock come from ctx. Stamp panics if E cannot be an event (a pointer, or a struct
// with two headers), since no value of such a type can be published, and if event is
// nil. It is safe to call concurrently and inside a handler.
func Stamp[E Event](ctx context.Context, event E) E {
	typ := reflect.TypeFor[E]()
	if typ.Kind() == reflect.Interface {
		return stampBoxed(ctx, event).(E)
	}
	if head := headerIn(&event, describe(typ).mustBeEvent()); head.id == uuid.Nil {
		n := nodeFrom(ctx)
		head.stamp(n.origin(), n.clock())
	}
	return event
}

func stampBoxed(ctx context.Context, event Event) Event {
	if event == nil {
		panic("tidings: Stamp of a nil event")
	}
	t := describe(reflect.TypeOf(event)).mustBeEvent()
	if event.EventID() != uuid.Nil {
		return event
	}
	n := nodeFrom(ctx)
	head := t.unbox(event)
	head.stamp(n.origin(), n.clock())
	return t.box(head)
}

// WithCorrelationID sets the correlation ID of all events that are published with the
// returned context: a request ID, for example, or the ID of a workflow that began in
// another process. Inside a handler it does not change the causation ID.
func WithCorrelationID(ctx context.Context, id uuid.UUID) context.Context {
	up := nodeFrom(ctx)
	head := DomainEvent{correlation: id}
	if origin := up.origin(); origin != nil {
		head.id = origin.id
	}
	return &node{ctx, up, nil, up.transactions(), &head}
}

// EventFrom returns the event of the handler that ctx belongs to, and whether there
// is one. The event is a copy, like the one that the handler received.
func EventFrom(ctx context.Context) (Event, bool) {
	e, ok := ctx.Value(eventKey{}).(Event)
	return e, ok
}
