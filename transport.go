package tidings

import (
	"context"
	"fmt"
	"reflect"
	"time"
)

// A Transport runs handlers elsewhere or later: as stored jobs, or behind a
// broker. Users name it in [Via] or [WithTransport]; its methods, [Handler],
// [Outgoing] and [TransportOption] are for authors of transports. Package
// tidingstest/transporttest has a suite that checks one.
//
//   - All methods are safe to call concurrently.
//   - The dynamic type is comparable, best a pointer.
//   - An event goes to the handlers of the names that it was sent for, each
//     independently of the others, at least once unless the transport says
//     otherwise. Events of one transaction are sent in order of publishing.
//   - The context that [Handler].Deliver gets may carry the transaction of the
//     work ([WithTx], [Transact]). It must not carry the publisher's.
type Transport interface {
	// Phase says when Send is called: InTransaction or BeforeCommit where
	// Send joins the publisher's transaction, which [TxFrom] finds in ctx
	// (an outbox), AfterCommit otherwise. It is always the same.
	Phase() Phase

	// Encode returns the form in which the transport stores or sends an event.
	// Send gets it back as Outgoing.Encoded; it may be nil. Publish calls Encode
	// once for each event, before anything else happens, so that an event that
	// cannot be encoded fails the publish, which returns the error, and not the
	// commit or what comes after it: no handler runs, and the event is not queued.
	Encode(ctx context.Context, event Outgoing) (any, error)

	// Send hands events over, each with the names of its handlers. It must not
	// keep the slice. An error fails the publish or, in BeforeCommit, the
	// transaction; after a commit it is reported, for every event. Where
	// only some were not accepted, Send returns a [*HandlerError] for each
	// of these, joined by [errors.Join]. It is called with all events of a
	// transaction, or with one outside a transaction and in InTransaction.
	Send(ctx context.Context, events []Outgoing) error

	// Handle registers a handler, before any event is sent for it. It replaces
	// an earlier handler of the same name, which was unsubscribed. Subscribe
	// panics with the error: refuse there what could only fail later. stop, unless
	// nil, is called once, when the handler is unsubscribed: no more events are to
	// be fetched for it. It may be called in a handler, also this one, and does
	// not wait for it.
	Handle(h Handler) (stop func(), err error)
}

// A Handler is what a [Transport] knows of a handler. A transport that retries
// does so on any error of Deliver, see also [Permanent] and [RetryAfter].
type Handler struct {
	Name      string       // given with [Named]
	EventType reflect.Type // a struct, or an interface that stands for all events that implement it

	// Deliver calls the handler and returns its error, a [*HandlerError]. After
	// the handler was unsubscribed it fails with [ErrUnsubscribed].
	Deliver func(ctx context.Context, event Event) error

	Attempts int                             // see [Attempts]; 0: the transport's default
	Backoff  func(attempt int) time.Duration // see [Backoff]; nil: the transport's default
	Timeout  time.Duration                   // see [Timeout]; 0: the transport's default

	// Options are the values of [TransportOption]. A transport refuses those that
	// are not its own.
	Options []fmt.Stringer

	// Subscription tells where in the code the handler was subscribed, and
	// whether it still is.
	Subscription *Subscription
}

// Outgoing is an event on its way out of the bus. Handlers is empty for an
// event that [WithTransport] sends although nothing here subscribes to it.
type Outgoing struct {
	Event    Event
	Handlers []string  // names of handlers; those unsubscribed since Encode are missing in Send
	Encoded  any       // what Encode has returned
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

// A batch is what is handed to one transport at once.
type batch struct {
	bus       *EventBus
	transport Transport
	events    []Outgoing
}

// An outbox collects events by transport.
type outbox []*batch
