package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/retry"
)

// handle makes the first attempt for a message on a topic.
func (c *consumer) handle(m *delivery, topic string) {
	c.try(m, attempt{origin: topic})
}

// handleAgain makes a further attempt for a message on the retry topic, once it
// is due. That topic is a queue: a message that is due later delays the others,
// but never for longer than they would wait alone plus the longest wait of the
// handler.
func (c *consumer) handleAgain(m *delivery, topic string) {
	a := attemptOf(m.Message)
	a.own = true
	if wait := a.left(); wait > 0 && !(a.strange > 0 && c.knows(m, a)) {
		// The broker hears nothing about a message that is held. Before it
		// redelivers the message, the message goes back to the end of the
		// queue.
		hold := min(wait, c.longestHold())
		if a.strange > 0 { // there a process may find it that knows it
			hold = min(hold, strangeHold)
		}
		if !c.pause(hold) {
			m.Nack()
			return
		}
		if wait > hold {
			a.waitFor(wait - hold)
			c.postpone(m, a)
			return
		}
	}
	c.try(m, a)
}

// longestHold leaves time for the handler, and to pass the message on.
func (c *consumer) longestHold() time.Duration { return (c.ackWait() - c.Timeout) / 2 }

// try calls the handler for a message, and decides what happens to it.
func (c *consumer) try(m *delivery, a attempt) {
	a.number++
	err := errGoexit
	defer func() { c.settle(m, a, err) }() // also if the handler ends the goroutine
	err = c.attempt(m, a)
}

// attempt runs the handler for the event in a message.
func (c *consumer) attempt(m *delivery, a attempt) (err error) {
	defer func() {
		if r := recover(); r != nil { // not the handler's, which the bus recovers
			err = &tidings.PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	event, err := c.open(m.Body, a)
	if event == nil || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.Timeout)
	defer cancel()
	if extract := c.relay.config.extract; extract != nil {
		ctx = extract(ctx, m.Metadata)
	}
	c.calls.Add(1)
	defer c.calls.Add(-1)
	err = c.Deliver(ctx, event)
	if he := (*tidings.HandlerError)(nil); c.receives && errors.As(err, &he) {
		return he.Err // those of the bus on which Receive publishes
	}
	return err
}

// settle acknowledges, returns or passes on a message after an attempt.
func (c *consumer) settle(m *delivery, a attempt, err error) {
	switch {
	case err == nil:
		m.Ack()
	case c.interrupted(err):
		c.giveBack(m)
	default:
		c.failed(m, a, err)
	}
}

// interrupted reports whether an attempt has ended because this process stops
// handling, which says nothing about the event.
func (c *consumer) interrupted(err error) bool {
	if c.ctx.Err() != nil {
		return true
	}
	if he := (*tidings.HandlerError)(nil); errors.As(err, &he) {
		return false
	}
	return errors.Is(err, tidings.ErrUnsubscribed) || errors.Is(err, tidings.ErrClosed)
}

// giveBack returns a message to the broker, for another consumer. Some brokers
// redeliver it at once, so it waits a while unless the consumer stops.
func (c *consumer) giveBack(m *delivery) {
	c.pause(giveBackAfter)
	m.Nack()
}

const giveBackAfter = time.Second

// failed sends a message to the retry queue or the dead letters.
func (c *consumer) failed(m *delivery, a attempt, err error) {
	tried, most := &a.number, c.Attempts
	if errors.As(err, new(*strangeError)) {
		a.number-- // the handler was not called
		a.strange++
		tried, most = &a.strange, max(c.Attempts, strangeAttempts)
	} else {
		a.strange = 0
	}
	log := c.relay.logger().With(slog.String("handler", c.Name), slog.String("topic", a.origin), slog.String("message_id", m.ID),
		slog.Int("attempt", a.number+a.strange))
	if p := (*tidings.PanicError)(nil); errors.As(err, &p) {
		log = log.With(slog.String("stack", string(p.Stack)))
	}
	a.handler = c.Name
	if *tried < most && !retry.IsPermanent(err) {
		wait := c.waitAfter(*tried, err)
		a.reason = reasonOf(err)
		a.waitFor(wait)
		handed, never := c.hand(m, retryQueue, a.addTo(m.Message))
		if handed {
			log.WarnContext(c.ctx, "relay: an attempt has failed", slog.Any("error", err), slog.Duration("again_in", wait))
		}
		if never == nil {
			return
		}
		err = fmt.Errorf("%w; it cannot be retried: %w", err, never)
	}
	c.bury(m, a, err, log.With(slog.Any("error", err)))
}

// waitAfter returns how long to wait after an attempt has failed with err.
func (c *consumer) waitAfter(attempt int, err error) (wait time.Duration) {
	if wait, ok := retry.After(err); ok {
		return wait
	}
	defer func() {
		if r := recover(); r != nil {
			c.relay.logger().Error("relay: the Backoff of a handler panicked", slog.String("handler", c.Name), slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			wait = defaultBackoff(attempt)
		}
	}()
	return max(0, c.Backoff(attempt))
}
