package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// A worker handles the messages of one subscription, one at a time.
type worker struct {
	*consumer
	subscriber message.Subscriber
	topic      string
	handle     func(*message.Message, string)
	messages   <-chan *message.Message
}

// run works until the consumer stops. A handler that calls runtime.Goexit, as
// t.FailNow does, ends the goroutine; then the worker continues in another one.
func (w *worker) run() {
	stopped := false
	defer func() {
		if stopped {
			w.workers.Done()
		} else {
			go w.run()
		}
	}()
	for w.work() {
		w.resubscribe()
	}
	stopped = true
}

// work handles messages until the consumer stops or the channel is closed. It
// reports whether the channel was closed.
func (w *worker) work() bool {
	for !w.stopping() {
		select {
		case <-w.life.Done():
		case m, ok := <-w.messages:
			if !ok {
				return !w.stopping()
			}
			w.handle(m, w.topic)
		}
	}
	return false
}

// resubscribe subscribes again after a subscriber has ended a subscription by
// itself, and retries until that succeeds or the consumer stops.
func (w *worker) resubscribe() {
	log := w.relay.logger().With(slog.String("handler", w.Name), slog.String("topic", w.topic))
	log.WarnContext(w.ctx, "relay: the broker ended a subscription")
	for w.pause(resubscribeAfter) {
		messages, err := w.subscriber.Subscribe(context.WithoutCancel(w.ctx), w.topic)
		if err == nil {
			w.messages = messages
			return
		}
		log.WarnContext(w.ctx, "relay: subscribing failed", slog.Any("error", err))
	}
}

const resubscribeAfter = time.Second
