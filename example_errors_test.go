package tidings_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

type CardCharged struct {
	tidings.DomainEvent
	Cents int64
}

// A Declined is an error of module billing.
type Declined struct{ Reason string }

func (e *Declined) Error() string { return "card declined: " + e.Reason }

// If a handler fails or panics, the other handlers still run. Publish returns all
// failures as one error, in which errors.As and errors.Is find each of them.
func ExampleHandlerError() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e CardCharged) error {
		return &Declined{Reason: "expired"}
	}, tidings.Named("billing"))
	tidings.Subscribe(bus, func(ctx context.Context, e CardCharged) error {
		panic("no network")
	}, tidings.Named("fraud"))
	tidings.Subscribe(bus, func(ctx context.Context, e CardCharged) error {
		fmt.Println("statistics: counted")
		return nil
	}, tidings.Named("statistics"))

	err := tidings.Publish(context.Background(), bus, CardCharged{Cents: 995})
	fmt.Println(err)

	var declined *Declined
	if errors.As(err, &declined) {
		fmt.Println("tell the customer:", declined.Reason)
	}
	var failed *tidings.HandlerError // the first one
	if errors.As(err, &failed) {
		fmt.Println("retry:", failed.Handler, failed.Event.(CardCharged).Cents)
	}
	var panicked *tidings.PanicError
	if errors.As(err, &panicked) {
		fmt.Println("wake somebody up:", panicked.Value, len(panicked.Stack) > 0)
	}
	// Output:
	// statistics: counted
	// tidings: billing handling tidings_test.CardCharged: card declined: expired
	// tidings: fraud handling tidings_test.CardCharged: panic: no network
	// tell the customer: expired
	// retry: billing 995
	// wake somebody up: no network true
}
