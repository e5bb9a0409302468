package bench

import (
	"context"

	"github.com/mehdihadeli/go-mediatr"
)

type mediatrHandler struct{}

func (mediatrHandler) Handle(ctx context.Context, e OrderPlaced) error { return handle(ctx, e) }

// setupMediatr clears the one registry of the process: a second bus beside the
// first is not to be had.
func setupMediatr(handlers int) (*Runner, error) {
	mediatr.ClearNotificationRegistrations()
	for range handlers {
		if err := mediatr.RegisterNotificationHandler[OrderPlaced](mediatrHandler{}); err != nil {
			return nil, err
		}
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				if err := mediatr.Publish(ctx, e); err != nil {
					return err
				}
			}
			return nil
		},
		Release: func() error {
			mediatr.ClearNotificationRegistrations()
			return nil
		},
		Delivered: counted,
	}, nil
}
