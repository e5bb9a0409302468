package relay_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// The handlers of this process know nothing of a broker: what arrives is
// published on their bus, with the header that it has.
func ExampleReceive() {
	ctx := context.Background()
	url := "memory://example-receive"

	// The statistics, which only listen.
	statistics, err := relay.Open(ctx, url, newShopRegistry())
	if err != nil {
		log.Fatal(err)
	}
	defer statistics.Close(ctx)
	bus, counted := tidings.New(), make(chan OrderPlaced)
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		counted <- e
		return nil
	})
	relay.Receive[tidings.Event](bus, statistics, "statistics")
	if err := statistics.Start(ctx); err != nil {
		log.Fatal(err)
	}

	// The shop, with all of its events on the broker.
	shop, err := relay.Open(ctx, url, newShopRegistry())
	if err != nil {
		log.Fatal(err)
	}
	defer shop.Close(ctx)
	shopBus := tidings.New(tidings.WithTransport(shop))
	placed := tidings.Stamp(ctx, OrderPlaced{Item: "Emma", Copies: 3})
	if err := tidings.Publish(ctx, shopBus, placed); err != nil {
		log.Fatal(err)
	}

	e := <-counted
	fmt.Println("copies:", e.Copies)
	fmt.Println("the same event:", e.EventID() == placed.EventID())
	// Output:
	// copies: 3
	// the same event: true
}
