// Package firststeps_test holds the code of docs/first-steps.md.
package firststeps_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tidings-go/tidings"
)

type OrderPlaced struct {
	tidings.DomainEvent
	OrderID int64
	Item    string
}

func Example_firstEvent() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("shipping", e.Item)
		return nil
	})

	err := tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1, Item: "Middlemarch"})
	fmt.Println(err)
	// Output:
	// shipping Middlemarch
	// <nil>
}

func Example_header() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("version of the ID:", e.EventID().Version())
		fmt.Println("this year or later:", e.OccurredAt().Year() >= 2025)
		fmt.Println("starts a workflow:", e.CorrelationID() == e.EventID())
		return nil
	})

	fmt.Println(tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1}))
	// Output:
	// version of the ID: VERSION_7
	// this year or later: true
	// starts a workflow: true
	// <nil>
}

// OrderShipped is what shipping says in turn.
type OrderShipped struct {
	tidings.DomainEvent
	OrderID int64
}

// A shipping module. In a program it would be a package of its own, and the
// events one that both sides import.
type shipping struct {
	bus *tidings.EventBus
}

func registerShipping(bus *tidings.EventBus) {
	s := &shipping{bus}
	tidings.Subscribe(bus, s.ship, tidings.Named("shipping.ship"))
}

func (s *shipping) ship(ctx context.Context, e OrderPlaced) error {
	fmt.Println("shipping", e.Item)
	return tidings.Publish(ctx, s.bus, OrderShipped{OrderID: e.OrderID})
}

// A mail module, which knows of neither.
func registerMail(bus *tidings.EventBus) {
	tidings.Subscribe(bus, func(_ context.Context, e OrderShipped) error {
		fmt.Println("mail: order", e.OrderID, "is on its way")
		return nil
	}, tidings.Named("mail.shipped"), tidings.Async())
}

// run is main, as far as the bus is concerned.
func run(ctx context.Context) error {
	bus := tidings.New()
	registerShipping(bus)
	registerMail(bus)

	if err := tidings.Publish(ctx, bus, OrderPlaced{OrderID: 1, Item: "Middlemarch"}); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return bus.Close(ctx) // refuses new events, and waits for those that are under way
}

func Example_modules() {
	fmt.Println(run(context.Background()))
	// Output:
	// shipping Middlemarch
	// mail: order 1 is on its way
	// <nil>
}
