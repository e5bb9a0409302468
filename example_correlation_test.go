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

// What a handler publishes with its context belongs to the same workflow,
// and names the event that led to it. Nothing has to be passed on by hand.
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

	// The ID of the HTTP request, say. Without it, the first event's own ID
	// names the workflow.
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
