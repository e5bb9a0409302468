package relay_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// An event that is forwarded reaches the handlers of this process as before,
// and those behind the broker.
func ExampleForward() {
	ctx := context.Background()
	r, err := relay.Open(ctx, "memory://example-forward", newShopRegistry())
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close(ctx)
	bus, packed := tidings.New(), make(chan string)
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("thanks for ordering", e.Item)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error { // in any process
		packed <- e.Item
		return nil
	}, tidings.Named("shipping.pack"), tidings.Via(r))
	relay.Forward[OrderPlaced](bus, r) // an outbox with tidings.Via(jobs), durable.Outside()
	if err := r.Start(ctx); err != nil {
		log.Fatal(err)
	}

	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Emma", Copies: 1}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("packed", <-packed)
	// Output:
	// thanks for ordering Emma
	// packed Emma
}
