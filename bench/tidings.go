package bench

import (
	"context"

	"github.com/tidings-go/tidings"
)

// Tidings is the name of our own contender.
const Tidings = "tidings"

func setupTidings(handlers int) (*Runner, error) {
	bus := tidings.New()
	for range handlers {
		tidings.Subscribe(bus, handle)
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				if err := tidings.Publish(ctx, bus, e); err != nil {
					return err
				}
			}
			return nil
		},
		Release:   func() error { return bus.Close(context.Background()) },
		Delivered: counted,
	}, nil
}
