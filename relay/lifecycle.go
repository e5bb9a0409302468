package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// hardStop is how long Close waits for handlers after it has cancelled their
// contexts.
const hardStop = 5 * time.Second

// Start begins to fetch events for the handlers that are subscribed with Via,
// and from now on for each one as it is subscribed. What is sent before Start
// is kept for them. Their contexts have the values of ctx, but end with
// [Relay.Close] and not with ctx, so that a handler is not cut off by a signal.
// A process that only sends need not call it. Start does nothing if the relay
// is started. If it fails it may be called again: the handlers before the one
// that the error names are served, the others not.
func (r *Relay) Start(ctx context.Context) error {
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		return fmt.Errorf("relay: Start: %w", ErrClosed)
	}
	if r.ctx == nil {
		r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	}
	r.started = true
	waiting := slices.Collect(maps.Values(r.consumers))
	r.mu.Unlock()
	for _, c := range waiting {
		if err := c.start(ctx, r.ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close fetches no more events and waits for the handlers that run. When ctx
// ends before they do, it cancels their contexts and gives them five more
// seconds; their events go back to the broker. Then it closes the connections.
// The error says what could not be waited for; the process may end nonetheless,
// as if it were killed: nothing is lost by that. A second call waits again.
func (r *Relay) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	consumers := slices.Collect(maps.Values(r.consumers))
	r.mu.Unlock()
	for _, c := range consumers {
		c.stop()
	}
	err := r.wait(ctx)
	r.interrupt()
	if r.closed.Swap(true) {
		return err
	}
	return errors.Join(err, r.broker.Close())
}

// interrupt cancels the contexts of the handlers.
func (r *Relay) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
}

// wait waits for the consumers, first patiently.
func (r *Relay) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	r.interrupt()
	timer := time.NewTimer(hardStop)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		r.logger().WarnContext(ctx, "relay: closed although a handler runs", slog.Any("error", ctx.Err()))
		return fmt.Errorf("relay: Close: a handler does not end although its context has: %w", ctx.Err())
	}
}
