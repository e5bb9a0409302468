package bench

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/mustafaturan/bus/v3"
)

func setupMustafaturan(handlers int) (*Runner, error) {
	var last atomic.Uint64 // the generator is the user's; this is about the cheapest that is unique
	b, err := bus.NewBus(bus.Next(func() string { return strconv.FormatUint(last.Add(1), 36) }))
	if err != nil {
		return nil, err
	}
	b.RegisterTopics("order.placed")
	for i := range handlers {
		b.RegisterHandler("handler."+strconv.Itoa(i), bus.Handler{
			Matcher: "^order.placed$",
			Handle: func(ctx context.Context, e bus.Event) {
				handleOnly(ctx, e.Data.(OrderPlaced))
			},
		})
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				if err := b.Emit(ctx, "order.placed", e); err != nil {
					return err
				}
			}
			return nil
		},
		Delivered: counted,
	}, nil
}
