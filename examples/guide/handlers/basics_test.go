package handlers_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

// A module is a struct with the dependencies of its handlers, and a method that
// subscribes them.
type stock struct {
	left int
}

func (s *stock) register(bus *tidings.EventBus) {
	tidings.Subscribe(bus, s.take, tidings.Named("stock.take"))
}

func (s *stock) take(_ context.Context, e OrderPlaced) error {
	s.left--
	fmt.Printf("stock: order %d, %d left\n", e.OrderID, s.left)
	return nil
}

func Example_module() {
	bus := tidings.New()
	(&stock{left: 10}).register(bus)

	if err := tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1}); err != nil {
		fmt.Println(err)
	}
	for _, s := range bus.Subscriptions() {
		fmt.Println(s.EventType, s.Handler, s.Phase)
	}
	// Output:
	// stock: order 1, 9 left
	// handlers_test.OrderPlaced stock.take AfterCommit
}

// A Billed event has an amount.
type Billed interface {
	tidings.Event
	Cents() int64
}

type InvoiceSent struct {
	tidings.DomainEvent
	Amount int64
}

func (e InvoiceSent) Cents() int64 { return e.Amount }

type RefundIssued struct {
	tidings.DomainEvent
	Amount int64
}

func (e RefundIssued) Cents() int64 { return -e.Amount }

func Example_family() {
	bus := tidings.New()
	var total int64
	tidings.Subscribe(bus, func(_ context.Context, e Billed) error {
		total += e.Cents()
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error {
		fmt.Printf("audit: %T\n", e)
		return nil
	})

	ctx := context.Background()
	for _, event := range []tidings.Event{InvoiceSent{Amount: 900}, RefundIssued{Amount: 200}, OrderPaid{OrderID: 1}} {
		if err := tidings.Publish(ctx, bus, event); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("total:", total)
	// Output:
	// audit: handlers_test.InvoiceSent
	// audit: handlers_test.RefundIssued
	// audit: handlers_test.OrderPaid
	// total: 700
}

func Example_correlation() {
	bus := tidings.New()
	var placed OrderPlaced
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPlaced) error {
		placed = e
		return tidings.Publish(ctx, bus, OrderPaid{OrderID: e.OrderID})
	})
	tidings.Subscribe(bus, func(_ context.Context, paid OrderPaid) error {
		fmt.Println("caused by the order:", paid.CausationID() == placed.EventID())
		fmt.Println("same workflow:", paid.CorrelationID() == placed.CorrelationID())
		return nil
	})

	fmt.Println(tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1}))
	// Output:
	// caused by the order: true
	// same workflow: true
	// <nil>
}

func Example_async() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("mail for order", e.OrderID)
		return nil
	}, tidings.Async(), tidings.Named("mail.confirm"))

	ctx := context.Background()
	for id := range int64(3) {
		if err := tidings.Publish(ctx, bus, OrderPlaced{OrderID: id + 1}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(bus.Close(ctx)) // waits for the queue
	// Output:
	// mail for order 1
	// mail for order 2
	// mail for order 3
	// <nil>
}

// named logs the call of each handler.
func named(next tidings.HandlerFunc) tidings.HandlerFunc {
	return func(ctx context.Context, d tidings.Delivery) error {
		fmt.Printf("%s gets %T\n", d.Handler(), d.Event())
		err := next(ctx, d)
		fmt.Printf("%s returns %v\n", d.Handler(), err)
		return err
	}
}

func Example_middleware() {
	bus := tidings.New(tidings.WithMiddleware(named))
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
		panic("no such shelf")
	}, tidings.Named("stock.take"))

	fmt.Println(tidings.Publish(context.Background(), bus, OrderPlaced{OrderID: 1}))
	// Output:
	// stock.take gets handlers_test.OrderPlaced
	// stock.take returns panic: no such shelf
	// tidings: stock.take handling handlers_test.OrderPlaced: panic: no such shelf
}
