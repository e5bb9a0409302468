package bench

import (
	"context"
	"fmt"

	"github.com/gookit/event"
)

// gookitOrder is an event of one's own, as gookit's guide writes it. With the
// trait, FireEventCtx has no need to wrap it once more.
type gookitOrder struct {
	event.BasicEvent
	event.ContextTrait
	order OrderPlaced
}

func (*gookitOrder) Name() string { return "order.placed" }

func setupGookit(handlers int) (*Runner, error) {
	manager := event.NewManager("bench")
	listener := event.ListenerFunc(func(e event.Event) error {
		placed, ok := e.(*gookitOrder)
		if !ok {
			return fmt.Errorf("got a %T", e)
		}
		return handle(placed.Context(), placed.order)
	})
	for range handlers {
		manager.On("order.placed", listener)
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				if err := manager.FireEventCtx(ctx, &gookitOrder{order: e}); err != nil {
					return err
				}
			}
			return nil
		},
		Delivered: counted,
	}, nil
}
