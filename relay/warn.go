package relay

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/tidings-go/tidings"
)

// These mistakes would show no other sign, so each is logged once. None is an
// error, since some programs make them on purpose.

// startWithin is how soon a relay with handlers should be started.
const startWithin = 30 * time.Second

// warnUnstarted warns of handlers that fetch nothing.
func (r *Relay) warnUnstarted() {
	if r.warned.Swap(true) {
		return
	}
	r.mu.Lock()
	handlers := slices.Sorted(maps.Keys(r.consumers))
	r.mu.Unlock()
	if len(handlers) > 0 {
		r.logger().Warn("relay: handlers receive no events, since the relay is not started: call Start once all are subscribed", slog.Any("handlers", handlers))
	}
}

// warnUnheard warns of received events without a handler.
func (r *Relay) warnUnheard(received received) {
	var unheard []string
	for _, info := range r.registry.Registrations() {
		heard := func(s tidings.SubscriptionInfo) bool { return isA(info.EventType, s.EventType) }
		if isA(info.EventType, received.event) && !slices.ContainsFunc(received.bus.Subscriptions(), heard) {
			unheard = append(unheard, info.Name)
		}
	}
	if len(unheard) > 0 {
		r.logger().Warn("relay: received events have no handler on the bus where they are published, and are acknowledged nevertheless", slog.Any("events", unheard))
	}
}

// warnUnmatched warns of a handler that takes no registered event.
func (c *consumer) warnUnmatched() {
	if topics := c.declared.Load(); topics != nil && len(*topics) == 0 {
		c.relay.logger().Warn("relay: a handler takes events that are not registered, and gets none: tidings.Register them",
			slog.String("handler", c.Name), slog.String("event", c.EventType.String()), slog.String("subscribed", c.place()))
	}
}

// longestAckWait is the shortest of the brokers' limits: RabbitMQ's, unless
// changed there (consumer_timeout).
const longestAckWait = 30 * time.Minute

// warnOfSettings warns if a broker will not wait for the handler.
func (c *consumer) warnOfSettings() {
	if c.ackWait() > longestAckWait {
		c.relay.logger().Warn("relay: the Timeout of a handler is longer than some brokers wait: RabbitMQ redelivers its events to another process after 30 minutes, while it still runs; use a durable job, or raise consumer_timeout there",
			slog.String("handler", c.Name), slog.Duration("timeout", c.Timeout))
	}
}
