package relay

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// A forward is a call of Forward.
type forward struct {
	event reflect.Type
	bus   *tidings.EventBus
	sub   *tidings.Subscription
}

// A received is a call of Receive.
type received struct {
	event reflect.Type
	bus   *tidings.EventBus
	sub   *tidings.Subscription
}

// Forward sends the events of type E that are published on bus to the broker,
// after the commit: for handlers in other processes, and for those in this one
// that are subscribed with Via(r). If E is an interface, the options must
// contain a [tidings.Named]; otherwise the name is "relay.forward.", the
// [WithPrefix] and the registered name.
//
//	relay.Forward[events.OrderPlaced](bus, r, tidings.Via(jobs), durable.Outside())
//
// With a durable transport, as here, the event is stored in the publisher's
// transaction and sent until the broker has it, so none is lost (a
// transactional outbox); it may be sent twice. Outside keeps no transaction
// open while Forward waits for the broker. Attempts and Backoff of the job
// limit how long the broker may be down. Without a durable transport, an event
// is lost if the process dies between the commit and the broker's answer, or
// the broker does not accept it, which the bus reports.
//
// While the subscription is active, r itself does not send these events of the
// bus. For an event larger than [WithMaxSize] the forwarding fails, and not the
// publish. That error is [tidings.Permanent], as is the one for an event larger than
// the broker takes. Forward panics like [tidings.Subscribe], if E is not
// registered, if it would itself run through r, and if [Receive] publishes
// these events on the same bus: they would circulate forever.
func Forward[E tidings.Event](bus *tidings.EventBus, r *Relay, opts ...tidings.SubscribeOption) *tidings.Subscription {
	mustNotBeNil(r == nil, "Forward", "*Relay")
	eventType := reflect.TypeFor[E]()
	if eventType.Kind() != reflect.Interface {
		name, err := r.registeredName(eventType)
		if err != nil {
			panic(err.Error())
		}
		opts = append([]tidings.SubscribeOption{tidings.Named("relay.forward." + r.config.prefix + name)}, opts...)
	}
	r.mustBeAcyclic("Forward", bus, eventType)
	sub := tidings.Subscribe(bus, func(ctx context.Context, event E) error {
		e, err := r.encode(ctx, event)
		if err != nil {
			return tidings.Permanent(err)
		}
		if err := r.declareFor(ctx, e.topic, reflect.TypeOf(event)); err != nil {
			return err
		}
		err = r.publish(ctx, e)
		if errors.Is(err, ErrTooLarge) {
			return tidings.Permanent(err)
		}
		return err
	}, opts...)
	if sub.Info().Transport == tidings.Transport(r) {
		sub.Unsubscribe()
		panic("relay: Forward through the relay that it sends to: with WithTransport(r) the events are sent already; add tidings.Via(jobs) for an outbox, or remove the Forward")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forwards = slices.DeleteFunc(r.forwards, func(f forward) bool { return !f.sub.Active() })
	r.forwards = append(r.forwards, forward{eventType, bus, sub})
	r.forwarding.Store(true)
	return sub
}

// isForwarded reports whether a Forward of the bus sends the event.
func (r *Relay) isForwarded(bus *tidings.EventBus, event tidings.Event) bool {
	if !r.forwarding.Load() {
		return false
	}
	typ := reflect.TypeOf(event)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.forwards {
		if f.bus == bus && f.sub.Active() && isA(typ, f.event) {
			return true
		}
	}
	return false
}

// Receive publishes on bus the events of type E that arrive from the broker,
// with their headers, so that all handlers of the bus get them as if they were
// published here. E may be an interface. group is a stable name, like a
// handler's: processes that receive in the same group share the events among
// them.
//
//	relay.Receive[events.OrderPlaced](bus, r, "fulfilment")
//
// The options are those of a handler, such as [tidings.Attempts] and [Workers].
// If a handler fails, all of them are called again for that event. If that does
// harm, subscribe each with Via(r) instead, or with the inbox of an event log.
// Receive panics like [tidings.Subscribe], and if [Forward] sends these events of the
// same bus: they would circulate forever. With WithTransport(r) a received event is not
// sent again. To end it, call Unsubscribe.
func Receive[E tidings.Event](bus *tidings.EventBus, r *Relay, group string, opts ...tidings.SubscribeOption) *tidings.Subscription {
	mustNotBeNil(bus == nil, "Receive", "*EventBus")
	mustNotBeNil(r == nil, "Receive", "*Relay")
	if group == "" {
		panic(`relay: Receive without a group: name it like a handler, "fulfilment"`)
	}
	eventType := reflect.TypeFor[E]()
	r.mustBeAcyclic("Receive", bus, eventType)
	receives := tidings.TransportOption(handlerOption{"Receive", func(s *settings) { s.receives = true }})
	opts = append([]tidings.SubscribeOption{tidings.Named(group), tidings.Via(r), receives}, opts...)
	sub := tidings.Subscribe(r.receiving, func(ctx context.Context, event E) error {
		return tidings.Publish(context.WithValue(ctx, arrivedKey{}, event.EventID()), bus, event)
	}, opts...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receives = slices.DeleteFunc(r.receives, func(other received) bool { return !other.sub.Active() })
	r.receives = append(r.receives, received{eventType, bus, sub})
	return sub
}

type arrivedKey struct{}

// hasArrived reports whether a Receive publishes event in ctx.
func hasArrived(ctx context.Context, event tidings.Event) bool {
	id, ok := ctx.Value(arrivedKey{}).(uuid.UUID)
	return ok && id == event.EventID()
}

// mustBeAcyclic panics if a registered event of a bus would be both sent and
// received.
func (r *Relay) mustBeAcyclic(function string, bus *tidings.EventBus, eventType reflect.Type) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, info := range r.registry.Registrations() {
		if !isA(info.EventType, eventType) {
			continue
		}
		for _, f := range r.forwards {
			if function == "Receive" && f.bus == bus && f.sub.Active() && isA(info.EventType, f.event) {
				panic(fmt.Sprintf("relay: Receive: %q is sent by Forward, and would circulate forever: subscribe handlers of this process with Via", info.Name))
			}
		}
		for _, received := range r.receives {
			if function == "Forward" && received.bus == bus && received.sub.Active() && isA(info.EventType, received.event) {
				panic(fmt.Sprintf("relay: Forward: %q is published by Receive, and would circulate forever", info.Name))
			}
		}
	}
}
