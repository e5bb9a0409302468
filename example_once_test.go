package tidings_test

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

type VisitorEntered struct {
	tidings.DomainEvent
	Name string
}

// Once ends a subscription after the first event, even if several events are
// published at the same time.
func ExampleOnce() {
	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e VisitorEntered) error {
		fmt.Println("the lights go on for", e.Name)
		return nil
	}, tidings.Once())

	for _, name := range []string{"Ada", "Grace"} {
		if err := tidings.Publish(context.Background(), bus, VisitorEntered{Name: name}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(len(bus.Subscriptions()), "subscriptions left")
	// Output:
	// the lights go on for Ada
	// 0 subscriptions left
}
