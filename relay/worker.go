package relay

import (
	"log/slog"
	"time"
)

// A worker handles the messages of one subscription, one at a time.
type worker struct {
	*consumer
	group      Group
	topic      string
	handle     func(*delivery, string)
	deliveries chan *delivery
	ended      <-chan error // of the subscription
}

// subscribe begins to fetch messages. They are handled by run.
func (w *worker) subscribe() (err error) {
	w.ended, err = w.relay.consume(w.life, w.group, w.topic, w.deliveries)
	return err
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
	}
	stopped = true
}

// work handles a message, or subscribes again. It returns false when the
// consumer stops and the broker has the last verdict.
func (w *worker) work() bool {
	select {
	case d := <-w.deliveries:
		if w.stopping() {
			d.Nack()
			return true
		}
		w.handle(d, w.topic)
		return true
	case err := <-w.ended:
		if !w.stopping() {
			return w.resubscribe(err)
		}
		if err != nil {
			w.relay.logger().Warn("relay: closing a subscription failed", slog.String("handler", w.Name), slog.Any("error", err))
		}
		return false
	}
}

// resubscribe subscribes again after the broker has ended a subscription by
// itself, and retries until that succeeds or the consumer stops.
func (w *worker) resubscribe(err error) bool {
	log := w.relay.logger().With(slog.String("handler", w.Name), slog.String("topic", w.topic))
	log.WarnContext(w.ctx, "relay: the broker ended a subscription", slog.Any("error", err))
	for w.pause(resubscribeAfter) {
		err := w.subscribe()
		if err == nil {
			return true
		}
		log.WarnContext(w.ctx, "relay: subscribing failed", slog.Any("error", err))
	}
	return false
}

const resubscribeAfter = time.Second
