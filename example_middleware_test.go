package tidings_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

type PaymentReceived struct {
	tidings.DomainEvent
	Cents int64
}

// Reported is a Middleware that prints the result of a handler. A Middleware wraps
// every handler of a bus, or one handler.
func Reported(next tidings.HandlerFunc) tidings.HandlerFunc {
	return func(ctx context.Context, d tidings.Delivery) error {
		err := next(ctx, d)
		fmt.Printf("%s: %v\n", d.Handler(), err)
		return err
	}
}

// Retried is a Middleware that calls a handler up to three times.
func Retried(next tidings.HandlerFunc) tidings.HandlerFunc {
	return func(ctx context.Context, d tidings.Delivery) error {
		var err error
		for range 3 {
			if err = next(ctx, d); err == nil {
				return nil
			}
		}
		return err
	}
}

// The Middleware of the bus is outside the Middleware of a subscription. A panic of
// the handler reaches it as an error.
func ExampleMiddleware() {
	bus := tidings.New(tidings.WithMiddleware(Reported))

	calls := 0
	tidings.Subscribe(bus, func(ctx context.Context, e PaymentReceived) error {
		if calls++; calls < 3 {
			return errors.New("the ledger is locked")
		}
		return nil
	}, tidings.Named("ledger"), tidings.Middleware(Retried))
	tidings.Subscribe(bus, func(ctx context.Context, e PaymentReceived) error {
		panic("no printer")
	}, tidings.Named("receipts"))

	if err := tidings.Publish(context.Background(), bus, PaymentReceived{Cents: 995}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ledger: <nil>
	// receipts: panic: no printer
	// tidings: receipts handling tidings_test.PaymentReceived: panic: no printer
}
