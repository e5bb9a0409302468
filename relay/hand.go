package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings/internal/retry"
)

const handAttempts = 5

// hand puts next into one of the handler's own queues, and then acknowledges m,
// which next replaces. If the process dies in between, both exist. It tries for
// a while, and then gives m back. never is the reason why the broker will never
// take next; then the caller decides about m.
func (c *consumer) hand(m *delivery, queue string, next *Message) (handed bool, never error) {
	ctx := context.WithoutCancel(c.ctx)
	for n := 1; ; n++ {
		err := c.relay.enqueue(ctx, c.queue(queue), next)
		if err == nil {
			m.Ack()
			return true, nil
		}
		if errors.Is(err, ErrTooLarge) || retry.IsPermanent(err) {
			return false, err
		}
		c.relay.logger().WarnContext(c.ctx, "relay: a message could not be passed on", slog.String("handler", c.Name), slog.String("queue", queue),
			slog.String("message_id", m.ID), slog.Any("error", err))
		if n == handAttempts || !c.pause(giveBackAfter) {
			m.Nack()
			return false, nil
		}
	}
}

// bury makes a message a dead letter: all of it or, if the broker does not take
// that, its beginning. If the broker takes neither, the message is given back,
// since it is stored nowhere else.
func (c *consumer) bury(m *delivery, a attempt, err error, log *slog.Logger) {
	a.failedAt, a.due, a.wait, a.reason = time.Now(), time.Time{}, 0, reasonOf(err)
	a.letter = uuid.NewString()
	if a.redrive == "" {
		a.redrive = a.letter
	}
	next := a.addTo(m.Message)
	var never error
	for i := 0; i <= len(letterSizes); i++ {
		var handed bool
		if handed, never = c.hand(m, deadQueue, next); never == nil {
			if handed {
				log.ErrorContext(c.ctx, "relay: a message is a dead letter", slog.Int("size", len(m.Body)), slog.Int("kept", len(next.Body)))
			}
			return
		}
		if i < len(letterSizes) {
			if !errors.Is(never, ErrTooLarge) { // the cause is unknown: try the smallest size
				i = len(letterSizes) - 1
			}
			next = a.cut(m.Message, letterSizes[i])
		}
	}
	log.ErrorContext(c.ctx, "relay: a message cannot be stored as a dead letter, and will be redelivered", slog.Any("refused", never))
	c.pause(handAttempts * giveBackAfter)
	m.Nack()
}

// letterSizes are the sizes, in bytes, to which the body of a dead letter is
// cut if the broker does not take all of it. All brokers take the last one.
var letterSizes = []int{64 << 10, 4 << 10, 64}

// postpone puts a message that is not due back to the end of the queue.
func (c *consumer) postpone(m *delivery, a attempt) {
	if _, never := c.hand(m, retryQueue, a.addTo(m.Message)); never != nil {
		err := fmt.Errorf("%s; it cannot be retried: %w", a.reason, never)
		c.bury(m, a, err, c.relay.logger().With(slog.String("handler", c.Name), slog.String("message_id", m.ID), slog.Any("error", err)))
	}
}
