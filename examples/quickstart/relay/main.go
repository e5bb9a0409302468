// Command relay sends an event through a message broker, in this process or at
// the URL that is its argument:
//
//	relay amqp://guest:guest@localhost:5672/
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	_ "github.com/tidings-go/tidings/relay/amqp"
)

type OrderPlaced struct {
	tidings.DomainEvent
	Item string
}

func main() {
	broker := "memory://shop"
	if len(os.Args) > 1 {
		broker = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, broker); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, broker string) (err error) {
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	r, err := relay.Open(ctx, broker, &registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(ctx)) }()

	// The handler gets its events from the broker, in any process that subscribes
	// it. Without Via it would run here, after the publish.
	bus := tidings.New()
	shipped := make(chan string)
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		shipped <- e.Item
		return nil
	}, tidings.Named("shipping.ship"), tidings.Via(r))
	if err := r.Start(ctx); err != nil {
		return err
	}

	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Middlemarch"}); err != nil {
		return err
	}
	select {
	case item := <-shipped:
		fmt.Printf("shipping: %q\n", item)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
