package tidings

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// encode calls Encode of the transports of routes, and returns the results by the
// index of the route, or nil if there are none. It skips Async, which keeps events as
// they are.
func (t *topic) encode(ctx context.Context, routes []*route, header *DomainEvent) (encoded []any, err error) {
	for i, r := range routes {
		if r.transport == t.bus.async {
			continue
		}
		if encoded == nil {
			encoded = make([]any, len(routes))
		}
		copied, err := t.copyOf(header)
		if err == nil {
			err = protect(func() (err error) {
				encoded[i], err = r.transport.Encode(ctx, Outgoing{Event: copied, Handlers: r.keys, Bus: t.bus})
				return err
			})
		}
		if err != nil {
			return nil, &wrapped{t.event.name + " is not published", err}
		}
	}
	return encoded, nil
}

// encodedFor returns the encoded event for the route with that index.
func encodedFor(encoded []any, route int) any {
	if encoded == nil {
		return nil
	}
	return encoded[route]
}

// hand calls Send and recovers its panics. It returns an error for each event that
// the transport did not accept.
func (b batch) hand(ctx context.Context) []error {
	err := protect(func() error { return b.transport.Send(ctx, b.events) })
	if err == nil {
		return nil
	}
	if errs := parts(err); isHandlerError(errs[0]) {
		return errs
	}
	return b.refused(err)
}

// refused returns an error for each event of the batch.
func (b batch) refused(err error) []error {
	errs := make([]error, len(b.events))
	for i, e := range b.events {
		name := strings.Join(e.Handlers, ", ")
		if name == "" {
			name = fmt.Sprintf("%T", b.transport)
		}
		errs[i] = &HandlerError{Handler: name, Event: e.Event, Err: fmt.Errorf("not accepted by %T: %w", b.transport, err)}
	}
	return errs
}

// handAfter calls hand after a commit, and returns the errors as failures.
func (b batch) handAfter(ctx context.Context) []failure {
	returned := false
	defer func() {
		if !returned { // Send is ending the goroutine
			report(b.failures(ctx, b.refused(errGoexit)))
		}
	}()
	errs := b.hand(ctx)
	returned = true
	return b.failures(ctx, errs)
}

func (b batch) failures(ctx context.Context, errs []error) (failures []failure) {
	for _, err := range errs {
		of := ctx
		if he := (*HandlerError)(nil); errors.As(err, &he) && he.Event != nil {
			of = b.bus.topicOf(reflect.TypeOf(he.Event)).contextOf(ctx, he.Event)
		}
		failures = append(failures, failure{of, b.bus, err})
	}
	return failures
}

// send sends all batches, but stops at the first transport that fails.
func (o outbox) send(ctx context.Context) error {
	for _, b := range o {
		if errs := b.hand(ctx); len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	return nil
}

func (o outbox) add(bus *EventBus, t Transport, event Outgoing) outbox {
	for _, b := range o {
		if b.bus == bus && b.transport == t {
			b.events = append(b.events, event)
			return o
		}
	}
	return append(o, &batch{bus, t, []Outgoing{event}})
}
