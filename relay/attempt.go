package relay

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings"
)

// handle makes the first attempt for a message on a topic.
func (c *consumer) handle(m *message.Message, topic string) {
	c.try(m, attempt{origin: topic})
}

// handleAgain makes a further attempt for a message on the topic of what is to
// be tried again, once it is due. That topic is a queue: who is due later holds
// up the others, but in no case for longer than they would wait alone plus the
// longest wait of the handler.
func (c *consumer) handleAgain(m *message.Message, topic string) {
	a := attemptOf(m)
	if wait := time.Until(a.due); wait > 0 {
		// To keep a message is to keep silent about it. Before the broker
		// gives it to somebody else, it goes back to the end of the queue.
		long := wait > c.longestHold()
		if !c.pause(min(wait, c.longestHold())) {
			m.Nack()
			return
		}
		if long {
			c.hand(m, retryQueue, m)
			return
		}
	}
	c.try(m, a)
}

// longestHold leaves time for the handler, and to pass the message on.
func (c *consumer) longestHold() time.Duration { return (c.ackWait() - c.timeout) / 2 }

// try calls the handler for a message, and decides what becomes of it.
func (c *consumer) try(m *message.Message, a attempt) {
	a.number++
	err := errGoexit
	defer func() { c.settle(m, a, err) }() // also if the handler ends the goroutine
	err = c.attempt(m, a.origin)
}

// attempt runs the handler for the event in a message.
func (c *consumer) attempt(m *message.Message, origin string) (err error) {
	defer func() {
		if r := recover(); r != nil { // not the handler's, which the bus contains
			err = &tidings.PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	event, err := c.open(m.Payload, origin)
	if event == nil || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	if extract := c.relay.config.extract; extract != nil {
		ctx = extract(ctx, m.Metadata)
	}
	return c.deliver(ctx, event)
}

// settle says what becomes of a message after an attempt.
func (c *consumer) settle(m *message.Message, a attempt, err error) {
	switch {
	case err == nil:
		m.Ack()
	case c.interrupted(err):
		c.giveBack(m)
	default:
		c.failed(m, a, err)
	}
}

// interrupted reports whether an attempt has ended because this process does
// not go on with it, which says nothing about the event.
func (c *consumer) interrupted(err error) bool {
	if c.ctx.Err() != nil {
		return true
	}
	if he := (*tidings.HandlerError)(nil); errors.As(err, &he) {
		return false
	}
	return errors.Is(err, tidings.ErrUnsubscribed) || errors.Is(err, tidings.ErrClosed)
}

// giveBack returns a message to the broker, for somebody else. Some brokers
// bring it back at once, so it does not hurry unless the consumer stops.
func (c *consumer) giveBack(m *message.Message) {
	c.pause(giveBackAfter)
	m.Nack()
}

const giveBackAfter = time.Second

// failed sends a message to where it is tried again, or to the dead letters.
func (c *consumer) failed(m *message.Message, a attempt, err error) {
	log := c.relay.logger().With(slog.String("handler", c.name), slog.String("topic", a.origin), slog.String("message_id", m.UUID),
		slog.Int("attempt", a.number), slog.Any("error", err))
	if p := (*tidings.PanicError)(nil); errors.As(err, &p) {
		log = log.With(slog.String("stack", string(p.Stack)))
	}
	a.reason, a.handler = reasonOf(err), c.name
	if a.number >= c.attempts || isPermanent(err) {
		a.due = time.Time{}
		a.failedAt = time.Now()
		if c.hand(m, deadQueue, a.addTo(m)) {
			log.ErrorContext(c.ctx, "relay: a message is a dead letter")
		}
		return
	}
	wait := c.waitAfter(a.number, err)
	a.due = time.Now().Add(wait)
	if c.hand(m, retryQueue, a.addTo(m)) {
		log.WarnContext(c.ctx, "relay: an attempt has failed", slog.Duration("again_in", wait))
	}
}

// waitAfter returns how long to wait after an attempt has failed with err.
func (c *consumer) waitAfter(attempt int, err error) (wait time.Duration) {
	var after interface{ RetryAfter() time.Duration }
	if errors.As(err, &after) {
		return max(0, after.RetryAfter())
	}
	defer func() {
		if r := recover(); r != nil {
			c.relay.logger().Error("relay: the Backoff of a handler panicked", slog.String("handler", c.name), slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			wait = defaultBackoff(attempt)
		}
	}()
	return max(0, c.backoff(attempt))
}

// hand puts next into a queue of the handler's own, and then acknowledges m,
// which it stands for. If the process dies in between, there are both. It tries
// for a while, and then gives m back; it reports whether next is in the queue.
func (c *consumer) hand(m *message.Message, queue string, next *message.Message) bool {
	copied := message.NewMessageWithContext(context.WithoutCancel(c.ctx), next.UUID, next.Payload)
	copied.Metadata = next.Metadata
	for n := 1; ; n++ {
		err := c.relay.enqueue(c.queue(queue), copied)
		if err == nil {
			m.Ack()
			return true
		}
		c.relay.logger().WarnContext(c.ctx, "relay: a message could not be passed on", slog.String("handler", c.name), slog.String("queue", queue),
			slog.String("message_id", m.UUID), slog.Any("error", err))
		if n == handAttempts || !c.pause(giveBackAfter) {
			m.Nack()
			return false
		}
	}
}

const handAttempts = 5
