package relay

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/tidings-go/tidings"
)

// Send publishes the events, each once, and ends with ctx. It does not retry:
// an event that the broker does not accept is lost, and the bus reports it,
// unless [Forward] sends it through a durable handler.
func (r *Relay) Send(ctx context.Context, events []tidings.Outgoing) error {
	for i, out := range events {
		e, ok := out.Encoded.(*encoded)
		if !ok {
			return fmt.Errorf("relay: Send got a %T where Encode returns a %T", out.Encoded, e)
		}
		if r.leavesOut(ctx, out) {
			continue
		}
		if len(out.Handlers) > 0 && !r.warned.Load() {
			r.warnUnstarted()
		}
		err := r.declare(ctx, e.topic, out.Handlers)
		if err == nil {
			err = r.publish(ctx, e)
		}
		if err != nil {
			return r.refused(ctx, events[i:], err)
		}
	}
	return nil
}

// leavesOut reports whether Send skips the event, since it was or will be sent
// otherwise.
func (r *Relay) leavesOut(ctx context.Context, out tidings.Outgoing) bool {
	return r.isForwarded(out.Bus, out.Event) || hasArrived(ctx, out.Event)
}

// refused returns an error for each event: those after the first one that the
// broker did not accept are not sent, since they would overtake it.
func (r *Relay) refused(ctx context.Context, events []tidings.Outgoing, err error) error {
	var errs []error
	for _, out := range events {
		if r.leavesOut(ctx, out) {
			continue
		}
		names := out.Handlers
		if len(names) == 0 {
			names = []string{"relay"}
		}
		for _, name := range names {
			errs = append(errs, &tidings.HandlerError{Handler: name, Event: out.Event, Err: err})
		}
	}
	return errors.Join(errs...)
}

// publish passes a message to the broker. If it ends with ctx, the broker may
// or may not have the message.
func (r *Relay) publish(ctx context.Context, e *encoded) error {
	err := ErrClosed
	if !r.closed.Load() {
		err = await(ctx, func() error { return r.broker.Publish(ctx, e.topic, &e.Message) })
	}
	if err != nil {
		return fmt.Errorf("relay: the broker has not accepted the event: %w", err)
	}
	return nil
}

// enqueue passes a message to the broker, for one of a handler's own queues.
func (r *Relay) enqueue(ctx context.Context, queue Group, m *Message) error {
	if r.closed.Load() {
		return ErrClosed
	}
	return r.broker.Enqueue(ctx, queue, m)
}

// declare makes the broker keep the events of a topic for these handlers, even
// before Start.
func (r *Relay) declare(ctx context.Context, topic string, handlers []string) error {
	var waiting []*consumer
	r.mu.Lock()
	for _, name := range handlers {
		if c := r.consumers[name]; c != nil && c.lacks(topic) {
			waiting = append(waiting, c)
		}
	}
	r.mu.Unlock()
	return declareAll(ctx, waiting)
}

// declareFor is declare for the handlers that take an event type.
func (r *Relay) declareFor(ctx context.Context, topic string, eventType reflect.Type) error {
	var waiting []*consumer
	r.mu.Lock()
	for _, c := range r.consumers {
		if isA(eventType, c.EventType) && c.lacks(topic) {
			waiting = append(waiting, c)
		}
	}
	r.mu.Unlock()
	return declareAll(ctx, waiting)
}

func declareAll(ctx context.Context, consumers []*consumer) error {
	for _, c := range consumers {
		if err := c.declare(ctx); err != nil && !c.stopping() {
			return err
		}
	}
	return nil
}
