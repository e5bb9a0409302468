package bench_test

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/asaskevich/EventBus"
	gookit "github.com/gookit/event"
	ebu "github.com/jilio/ebu"
	kelindar "github.com/kelindar/event"
	"github.com/maniartech/signals"
	"github.com/mehdihadeli/go-mediatr"
	mustafaturan "github.com/mustafaturan/bus/v3"
)

const topic = "order.placed"

func openSignals(handlers int) bus {
	signal := signals.NewSync[orderPlaced]()
	for range handlers {
		signal.AddListenerWithErr(handle)
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error { return signal.TryEmit(ctx, e) })
	}}
}

type mediatrHandler struct{}

func (mediatrHandler) Handle(ctx context.Context, e orderPlaced) error { return handle(ctx, e) }

// openMediatr clears the one registry of the process.
func openMediatr(handlers int) bus {
	mediatr.ClearNotificationRegistrations()
	for range handlers {
		check(mediatr.RegisterNotificationHandler[orderPlaced](mediatrHandler{}))
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error { return mediatr.Publish(ctx, e) })
	}}
}

// gookitOrder is an event of one's own, as gookit's guide writes it. With the
// trait, FireEventCtx has no need to wrap it once more.
type gookitOrder struct {
	gookit.BasicEvent
	gookit.ContextTrait
	order orderPlaced
}

func (*gookitOrder) Name() string { return topic }

func openGookit(handlers int) bus {
	manager := gookit.NewManager("bench")
	listener := gookit.ListenerFunc(func(e gookit.Event) error {
		placed := e.(*gookitOrder)
		return handle(placed.Context(), placed.order)
	})
	for range handlers {
		manager.On(topic, listener)
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error {
			return manager.FireEventCtx(ctx, &gookitOrder{order: e})
		})
	}}
}

func openMustafaturan(handlers int) bus {
	var last atomic.Uint64 // the generator is the user's; this is about the cheapest that is unique
	events := must(mustafaturan.NewBus(mustafaturan.Next(func() string { return strconv.FormatUint(last.Add(1), 36) })))
	events.RegisterTopics(topic)
	for i := range handlers {
		events.RegisterHandler("handler."+strconv.Itoa(i), mustafaturan.Handler{
			Matcher: "^order.placed$",
			Handle:  func(ctx context.Context, e mustafaturan.Event) { handleOnly(ctx, e.Data.(orderPlaced)) },
		})
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error { return events.Emit(ctx, topic, e) })
	}}
}

func openEbu(handlers int) bus {
	events := ebu.New()
	for range handlers {
		check(ebu.SubscribeContext(events, handleOnly))
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error {
			ebu.PublishContext(events, ctx, e)
			return nil
		})
	}}
}

func openEventBus(handlers int) bus {
	events := EventBus.New()
	for range handlers {
		check(events.Subscribe(topic, handleOnly))
	}
	return bus{delivered: counted, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error {
			events.Publish(topic, ctx, e)
			return nil
		})
	}}
}

// tallies counts for handlers that run in goroutines of their own.
type tallies []struct {
	n atomic.Int64
	_ [120]byte
}

func (t tallies) sum() (sum int64) {
	for i := range t {
		sum += t[i].n.Load()
	}
	return sum
}

// openKelindar: handlers get no context. The time is that until the last event is
// delivered.
func openKelindar(handlers int) bus {
	goroutines := runtime.NumGoroutine() + min(handlers, 1) // its ticker
	events := kelindar.NewDispatcher()
	tally := make(tallies, handlers)
	cancels := make([]context.CancelFunc, handlers)
	for i := range handlers {
		cancels[i] = kelindar.Subscribe(events, func(orderPlaced) { tally[i].n.Add(1) })
	}
	var want atomic.Int64
	return bus{delivered: tally.sum, publish: func(lane, n int) error {
		want.Add(int64(n * handlers))
		defer poll(func() bool { return tally.sum() == want.Load() })
		return loop(lane, n, func(_ context.Context, e orderPlaced) error {
			kelindar.Publish(events, e)
			return nil
		})
	}, close: func() error {
		for _, cancel := range cancels {
			cancel()
		}
		// A handler's goroutine ends at the next tick, and Close stops the ticks.
		poll(func() bool { return runtime.NumGoroutine() <= goroutines })
		return events.Close()
	}}
}

// poll asks until done says so, of a bus that does not say when it is idle.
func poll(done func() bool) {
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			panic("after a minute, events are not delivered, or goroutines stay behind")
		}
	}
}

// openWatermill: Publish waits until every subscriber has acknowledged. It carries
// bytes, as many as an event has; that they have to be encoded is left out.
func openWatermill(handlers int) bus {
	channel := gochannel.NewGoChannel(gochannel.Config{
		BlockPublishUntilSubscriberAck: true,
		PreserveContext:                true, // handlers get the publisher's; and it is the cheaper setting
	}, watermill.NopLogger{})
	tally := make(tallies, handlers)
	var subscribers sync.WaitGroup
	for i := range handlers {
		messages := must(channel.Subscribe(context.Background(), topic))
		subscribers.Go(func() {
			for m := range messages {
				tally[i].n.Add(1)
				m.Ack()
			}
		})
	}
	return bus{delivered: tally.sum, publish: func(lane, n int) error {
		return loop(lane, n, func(ctx context.Context, e orderPlaced) error {
			return channel.Publish(topic, message.NewMessageWithContext(ctx, e.EventID().String(), make([]byte, 72)))
		})
	}, close: func() error {
		err := channel.Close()
		subscribers.Wait()
		return err
	}}
}
