package bench

import (
	"context"
	"sync"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

func setupWatermill(handlers int) (*Runner, error) {
	channel := gochannel.NewGoChannel(gochannel.Config{
		BlockPublishUntilSubscriberAck: true,
		PreserveContext:                true, // handlers get the publisher's; and it is the cheaper setting
	}, watermill.NopLogger{})
	tally := make(tallies, handlers)
	var subscribers sync.WaitGroup
	for i := range handlers {
		messages, err := channel.Subscribe(context.Background(), "order.placed")
		if err != nil {
			return nil, err
		}
		subscribers.Go(func() {
			for msg := range messages {
				tally[i].n.Add(1)
				msg.Ack()
			}
		})
	}
	return &Runner{
		Do: func(lane, n int) error {
			ctx, e := context.Background(), orders[lane]
			for range n {
				msg := message.NewMessageWithContext(ctx, e.EventID().String(), encodeOrder(e))
				if err := channel.Publish("order.placed", msg); err != nil {
					return err
				}
			}
			return nil
		},
		Release: func() error {
			err := channel.Close()
			subscribers.Wait()
			return err
		},
		Delivered: tally.sum,
	}, nil
}
