package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"sync/atomic"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// What a handler has given up is kept, and put back when the cause has gone.
func ExampleRelay_Redrive() {
	ctx := context.Background()
	r, err := relay.Open(ctx, "memory://example-redrive", newShopRegistry(), relay.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close(ctx)
	var unlocked atomic.Bool
	bus, packed := tidings.New(), make(chan string)
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		if !unlocked.Load() {
			return tidings.Permanent(errors.New("the shelf is locked")) // another attempt would not help
		}
		packed <- e.Item
		return nil
	}, tidings.Named("shipping.pack"), tidings.Via(r))
	if err := r.Start(ctx); err != nil {
		log.Fatal(err)
	}
	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Emma", Copies: 1}); err != nil {
		log.Fatal(err)
	}

	go func() {
		_, err := r.Redrive(ctx, "shipping.pack", func(letter relay.DeadLetter) relay.Verdict {
			fmt.Printf("%s, attempt %d: %s\n", letter.Type(), letter.Attempts, letter.Reason)
			unlocked.Store(true)
			return relay.Redeliver
		})
		if err != nil && !errors.Is(err, relay.ErrClosed) {
			log.Print(err)
		}
	}()
	fmt.Println("packed", <-packed)
	// Output:
	// orders.order_placed, attempt 1: tidings: shipping.pack handling relay_test.OrderPlaced: the shelf is locked
	// packed Emma
}
