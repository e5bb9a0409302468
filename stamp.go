package tidings

import (
	"context"
	"reflect"

	"github.com/google/uuid"
)

// Stamp returns event with its header filled in as [Publish] would, for
// code that records an event before it publishes it. An event that has a
// header already is returned as it is. Stamp panics if E cannot be an
// event (a pointer, or a struct with two headers): no value of such a type
// can be published. It is safe to call concurrently and inside a handler,
// where the correlation, the causation and the bus's clock come from ctx.
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

// WithCorrelationID returns a context in which published events belong to
// the workflow id: a request ID or a saga that began outside this process.
// Inside a handler the causation stays what it was.
func WithCorrelationID(ctx context.Context, id uuid.UUID) context.Context {
	up := nodeFrom(ctx)
	head := DomainEvent{correlation: id}
	if origin := up.origin(); origin != nil {
		head.id = origin.id
	}
	return &node{ctx, up, nil, up.transactions(), &head}
}

// EventFrom returns the event whose handler ctx belongs to. It is a copy
// like the one that the handler received.
func EventFrom(ctx context.Context) (Event, bool) {
	e, ok := ctx.Value(eventKey{}).(Event)
	return e, ok
}
