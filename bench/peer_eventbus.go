package bench

import (
	"context"

	"github.com/asaskevich/EventBus"
)

func setupEventBus(handlers int) (*Runner, error) {
	bus := EventBus.New()
	for range handlers {
		if err := bus.Subscribe("order.placed", handleOnly); err != nil {
			return nil, err
		}
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				bus.Publish("order.placed", ctx, e)
			}
			return nil
		},
		Delivered: counted,
	}, nil
}
