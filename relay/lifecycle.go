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
// and for those subscribed later. Events sent before Start are kept for them.
// The handlers' contexts have the values of ctx, but end with [Relay.Close] and
// not with ctx, so that a signal does not interrupt a handler. A process that
// only sends need not call it. Start does nothing if the relay is started. If
// it fails, or ctx ends, it may be called again: the handlers before the one
// that the error names have started, the others have not.
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
	r.warned.Store(true)
	if r.unstarted != nil {
		r.unstarted.Stop()
	}
	waiting := slices.Collect(maps.Values(r.consumers))
	receives := slices.Clone(r.receives)
	r.mu.Unlock()
	for _, received := range receives {
		r.warnUnheard(received)
	}
	for _, c := range waiting {
		if err := c.start(ctx, r.ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close fetches no more events and waits for the running handlers. If ctx ends
// before they do, it cancels their contexts and gives them five more seconds;
// their events go back to the broker. Then it closes the connections, and waits
// for that as long as ctx lasts, and at least five seconds. The error says what
// did not end; the process may exit nonetheless, which is like a crash and
// loses nothing. A second call waits again.
func (r *Relay) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	r.warned.Store(true)
	if r.unstarted != nil {
		r.unstarted.Stop()
	}
	consumers := slices.Collect(maps.Values(r.consumers))
	r.mu.Unlock()
	for _, c := range consumers {
		c.stop()
	}
	err := r.wait(ctx)
	r.interrupt()
	return errors.Join(err, r.closeBroker(ctx))
}

// closeBroker closes the broker once. Only the call that does so returns its error.
func (r *Relay) closeBroker(ctx context.Context) error {
	late, cancel := limit(ctx, hardStop)
	defer cancel()
	first := !r.closed.Swap(true)
	err := await(late, func() error {
		if !first {
			<-r.disconnected
			return nil
		}
		defer close(r.disconnected)
		return r.broker.Close()
	})
	if err != nil && late.Err() != nil {
		return fmt.Errorf("relay: Close: closing the broker: %w", err)
	}
	return err
}

// limit returns a context that ends d after ctx ends.
func limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { // in a new goroutine
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-late.Done():
		}
	})
	return late, func() { stop(); cancel(nil) }
}

// interrupt cancels the contexts of the handlers.
func (r *Relay) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
}

// wait waits for the consumers, first without interrupting them.
func (r *Relay) wait(ctx context.Context) error {
	late, cancel := limit(ctx, hardStop)
	defer cancel()
	defer context.AfterFunc(ctx, r.interrupt)()
	if await(late, func() error { r.running.Wait(); return nil }) == nil {
		return nil
	}
	handlers, others := r.unfinished()
	var errs []error
	if len(handlers) > 0 {
		errs = append(errs, fmt.Errorf("relay: Close: handlers are still running although their contexts have ended: %q: %w", handlers, ctx.Err()))
	}
	if len(others) > 0 {
		errs = append(errs, fmt.Errorf("relay: Close: the broker has not answered the consumers of handlers: %q: %w", others, ctx.Err()))
	}
	err := errors.Join(errs...)
	if err == nil {
		return nil // they ended meanwhile
	}
	r.logger().WarnContext(ctx, "relay: closed before everything had ended", slog.Any("error", err))
	return err
}

// unfinished returns the names of the running handlers, and of the others whose
// consumers have not ended.
func (r *Relay) unfinished() (handlers, others []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.consumers)) {
		if r.consumers[name].calls.Load() > 0 {
			handlers = append(handlers, name)
		} else {
			others = append(others, name)
		}
	}
	return handlers, others
}
