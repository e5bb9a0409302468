package bench

import "context"

// setupBare is the bare minimum: no bus at all.
func setupBare(handlers int) (*Runner, error) {
	list := make([]func(context.Context, OrderPlaced) error, 0, handlers)
	for range handlers {
		list = append(list, handle)
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				for _, h := range list {
					if err := h(ctx, e); err != nil {
						return err
					}
				}
			}
			return nil
		},
		Delivered: counted,
	}, nil
}
