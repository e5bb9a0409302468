package bench

import (
	"context"

	eventbus "github.com/jilio/ebu"
)

func setupEbu(handlers int) (*Runner, error) {
	bus := eventbus.New()
	for range handlers {
		if err := eventbus.SubscribeContext(bus, handleOnly); err != nil {
			return nil, err
		}
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				eventbus.PublishContext(bus, ctx, e)
			}
			return nil
		},
		Release:   func() error { return bus.Shutdown(context.Background()) },
		Delivered: counted,
	}, nil
}
