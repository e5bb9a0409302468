package bench

import (
	"context"

	"github.com/maniartech/signals"
)

func setupSignals(handlers int) (*Runner, error) {
	signal := signals.NewSync[OrderPlaced]()
	for range handlers {
		signal.AddListenerWithErr(handle)
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				if err := signal.TryEmit(ctx, e); err != nil {
					return err
				}
			}
			return nil
		},
		Delivered: counted,
	}, nil
}
