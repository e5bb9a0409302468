package tidings

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/google/uuid"
)

// Deliver calls one handler, the one that was [Named] handler, with event, in this
// goroutine. A transport does the same when an event arrives. Use Deliver to replay an
// event, or to retry a handler that failed. The handler's middleware runs, but no other
// handler does. The handler is in the transaction of ctx, if any. The event must have a
// header: it was published before, or comes from [Stamp].
//
// Deliver returns the handler's error as a [*HandlerError]. It returns an error if
// there is no such handler, or if the handler does not handle this type of event.
// Otherwise it fails where [Publish] does. Deliver is safe to call concurrently and
// inside a handler.
func (b *EventBus) Deliver(ctx context.Context, handler string, event Event) error {
	if ctx == nil || event == nil {
		return errors.New("tidings: Deliver with a nil context or event")
	}
	if b.topics.Load() == nil {
		return errZeroBus("Deliver")
	}
	t := b.topicOf(reflect.TypeOf(event))
	if t.err != nil {
		return t.err
	}
	if event.EventID() == uuid.Nil {
		return fmt.Errorf("tidings: Deliver of a %T without a header: publish it, or use Stamp", event)
	}
	if n := nodeFrom(ctx); n.depth() >= b.maxDepth {
		return depthError(n, t.event, b.maxDepth)
	}
	b.mu.RLock()
	sub := b.named[handler]
	b.mu.RUnlock()
	if sub == nil {
		return fmt.Errorf("tidings: there is no handler named %q: Subscribe one with Named(%[1]q) first", handler)
	}
	return sub.run(ctx, event)
}

// deliver runs the handler of sub with an event that arrived for it.
func (t *topic) deliver(ctx context.Context, event Event, sub *Subscription) error {
	up := nodeFrom(ctx)
	n := t.nodeOf(ctx, up, up.transactions(), t.event.unbox(event))
	defer t.bus.inflight.Finish(t.bus.inflight.Start(unsafe.Pointer(n)))
	if err := t.bus.admit(up); err != nil {
		return err
	}
	return joined(n.run(lane{sub}, false))
}

// deliver runs the handler with an event that its transport delivers.
func (s *Subscription) deliver(ctx context.Context, event Event) error {
	if event == nil {
		return errors.New("tidings: a nil event was delivered")
	}
	if s.removed.Load() && s.transport != s.bus.async {
		return fmt.Errorf("tidings: %s is %w", s.name, ErrUnsubscribed)
	}
	return s.run(ctx, event)
}

func (s *Subscription) run(ctx context.Context, event Event) error {
	if typ := reflect.TypeOf(event); !s.accepts(typ) {
		return fmt.Errorf("tidings: %s handles %s, but %s was delivered to it", s.name, s.event, typ)
	}
	return s.bus.topicOf(reflect.TypeOf(event)).deliver(ctx, event, s)
}
