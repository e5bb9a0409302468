package tidings_test

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

type OrderReceived struct {
	tidings.DomainEvent
	Order string
}

type StockReserved struct {
	tidings.DomainEvent
	Shelf int
}

type ParcelPacked struct {
	tidings.DomainEvent
	Grams int
}

// Events that a handler publishes with its context belong to the same workflow, and
// carry the ID of the event that caused them. The handler does not pass on any ID
// itself.
func ExampleWithCorrelationID() {
	bus := tidings.New()
	names := map[uuid.UUID]string{}
	tidings.Subscribe(bus, func(ctx context.Context, e tidings.Event) error {
		names[e.EventID()] = fmt.Sprintf("%T", e)
		fmt.Printf("%s: workflow %s, caused by %q\n", names[e.EventID()], e.CorrelationID(), names[e.CausationID()])
		return nil
	})
	tidings.Subscribe(bus, func(ctx context.Context, e OrderReceived) error {
		return tidings.Publish(ctx, bus, StockReserved{Shelf: 12})
	})
	tidings.Subscribe(bus, func(ctx context.Context, e StockReserved) error {
		return tidings.Publish(ctx, bus, ParcelPacked{Grams: 480})
	})

	// For example, the ID of an HTTP request. Without it, the first event's own ID
	// identifies the workflow.
	request := uuid.MustParse("5f0c4a3e-0d0a-4a52-9c25-0a6d3c1f7b11")
	ctx := tidings.WithCorrelationID(context.Background(), request)
	if err := tidings.Publish(ctx, bus, OrderReceived{Order: "A-1"}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// tidings_test.OrderReceived: workflow 5f0c4a3e-0d0a-4a52-9c25-0a6d3c1f7b11, caused by ""
	// tidings_test.StockReserved: workflow 5f0c4a3e-0d0a-4a52-9c25-0a6d3c1f7b11, caused by "tidings_test.OrderReceived"
	// tidings_test.ParcelPacked: workflow 5f0c4a3e-0d0a-4a52-9c25-0a6d3c1f7b11, caused by "tidings_test.StockReserved"
}
