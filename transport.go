package tidings

import (
	"context"
	"fmt"
	"reflect"
)

// A Transport runs handlers elsewhere or later: as stored jobs, or behind a
// broker. Users name it in [Via] or [WithTransport]; the methods
// are for authors of transports. Package tidingstest has a suite that checks it.
//
//   - All methods are safe to call concurrently.
//   - The dynamic type is comparable, best a pointer. A transport may hand
//     out views of itself, to carry the settings of one handler.
//   - An event goes to the handlers of the names that it was sent for, each
//     independently of the others, at least once unless the transport says
//     otherwise. Events of one transaction are sent in order of publishing.
//   - The context that deliver gets may carry the transaction of the work
//     ([WithTx], [Transact]). It must not carry the publisher's.
type Transport interface {
	// Phase says when Send is called: InTransaction or BeforeCommit where
	// Send joins the publisher's transaction, which [TxFrom] finds in ctx
	// (an outbox), AfterCommit otherwise. It is always the same.
	Phase() Phase

	// Send hands events over, for the handlers of these names. It must not
	// keep the slice. An error fails the publish or, in BeforeCommit, the
	// transaction; after a commit it is reported, for every event. Where
	// only some were not accepted, Send returns a [*HandlerError] for each
	// of these, joined by [errors.Join]. It is called with all events of a
	// transaction, or with one outside a transaction and in InTransaction.
	Send(ctx context.Context, deliveries []Outgoing) error

	// Handle registers what runs when an event arrives for the handler of
	// this name. deliver returns the handler's error, a [*HandlerError]; a
	// transport that retries does so on any error. A second call for a
	// name replaces the first.
	Handle(name string, deliver func(context.Context, Event) error) error
}

// An Encoder is a [Transport] that stores or sends events in another form.
// Publish has it encode the event before anything else happens, so that one
// that cannot be encoded fails the publish and not, later, the commit or
// what comes after it.
type Encoder interface {
	Transport

	// EncodeEvent returns the form of event that Send gets back as
	// Outgoing.Encoded. Publish returns its error: no handler runs, and
	// the event is not queued. isNew says that this publish has stamped the
	// event, so that its ID is new. EncodeEvent is called
	// once for each publish, and may be called several times at once.
	EncodeEvent(ctx context.Context, event Event, isNew bool) (any, error)
}

// A Binder is a [Transport] that is given the subscription and not its name
// alone, so that it can refuse, while the program is wired up, what could only
// fail later. A [Broadcaster] has HandleType in its place.
type Binder interface {
	Transport

	// Bind is called in place of Handle. [Subscription.Info] has the name, the
	// event type and the place in the code, and [Subscription.Active] says
	// later whether the handler is still subscribed. Subscribe panics with the
	// error.
	Bind(sub *Subscription, deliver func(context.Context, Event) error) error
}

// A Broadcaster is a [Transport] that sends an event once for all its handlers:
// to a topic of a broker, from which each handler has to fetch what it takes.
type Broadcaster interface {
	Transport

	// Sender returns the transport whose Send is called, once for each
	// event, for all handlers whose transports have the same Sender: views of
	// one transport return that. It is always the same, and has the Phase of
	// the Broadcaster.
	Sender() Transport

	// HandleType is called in place of Handle. The handler takes events of
	// eventType: a struct, or an interface that stands for all events that
	// implement it. stop is called once, when the handler is unsubscribed:
	// no more events are to be fetched for it. It may be called in a
	// handler, also this one, and does not wait for it. What deliver gets
	// later fails with [ErrUnsubscribed].
	HandleType(name string, eventType reflect.Type, deliver func(context.Context, Event) error) (stop func(), err error)
}

// Outgoing is an event on its way out of the bus. Handlers is empty for an
// event that [WithTransport] sends although nothing here subscribes to it.
type Outgoing struct {
	Event    Event
	Handlers []string
	Encoded  any       // by an [Encoder]; else nil
	Bus      *EventBus // that it is published on
}

func mustBeSound(t Transport) {
	if !reflect.TypeOf(t).Comparable() {
		panic(fmt.Sprintf("tidings: %T is not comparable: make the transport a pointer", t))
	}
	if p := t.Phase(); p != AfterCommit && p != InTransaction && p != BeforeCommit {
		panic(fmt.Sprintf("tidings: %T sends in phase %v: it must be InTransaction, BeforeCommit or AfterCommit", t, p))
	}
}

// senderOf returns the transport that events for handlers of t are sent
// through.
func senderOf(t Transport) Transport {
	if b, ok := t.(Broadcaster); ok {
		return b.Sender()
	}
	return t
}

// A batch is what is handed to one transport at once.
type batch struct {
	bus       *EventBus
	transport Transport
	events    []Outgoing
}

// An outbox collects events by transport.
type outbox []*batch
