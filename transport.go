package tidings

import (
	"context"
	"fmt"
	"reflect"
	"time"
)

// A Transport runs handlers in another process or at a later time: as stored jobs, or
// as consumers of a message broker. Applications pass one to [Via] or
// [WithTransport]. Its methods, [Handler], [Outgoing] and [TransportOption] are for
// authors of transports; package tidingstest/transporttest tests an implementation.
//
//   - All methods must be safe to call concurrently.
//   - The dynamic type must be comparable, preferably a pointer.
//   - An event is delivered to each handler that it was sent for, independently of
//     the other handlers, and at least once unless the transport documents otherwise.
//     The events of a transaction are sent in the order of publishing.
//   - The context passed to [Handler].Deliver may carry a transaction of the
//     transport ([WithTx], [Transact]). It must not carry the publisher's
//     transaction.
type Transport interface {
	// Phase returns when Send is called: InTransaction or BeforeCommit if Send writes
	// in the publisher's transaction, which it gets from [TxFrom] (a transactional
	// outbox), and AfterCommit otherwise. It always returns the same phase.
	Phase() Phase

	// Encode returns the form in which the transport stores or sends an event. Send
	// gets it back as Outgoing.Encoded; it may be nil. Publish calls Encode once for
	// each event, before anything else happens. So if an event cannot be encoded,
	// Publish returns the error, no handler runs and the event is not queued; the
	// commit cannot fail because of it.
	Encode(ctx context.Context, event Outgoing) (any, error)

	// Send sends or stores events, each with the names of its handlers. It must not
	// keep the slice. If Send returns an error, Publish fails or, in BeforeCommit,
	// the transaction fails; after a commit, the error is reported for every event.
	// If only some events were not accepted, Send returns a [*HandlerError] for each
	// of them, joined by [errors.Join]. Send gets all events of a transaction at
	// once, but a single event outside a transaction and in InTransaction.
	Send(ctx context.Context, events []Outgoing) error

	// Handle registers a handler. It is called before any event is sent for the
	// handler, and replaces an earlier, unsubscribed handler of the same name. If
	// Handle returns an error, Subscribe panics with it: refuse here what could
	// otherwise only fail later.
	//
	// The bus calls stop, unless it is nil, once, when the handler is unsubscribed:
	// from then on the transport should fetch no more events for the handler. stop
	// may be called inside a handler, even inside the one that it stops, and must not
	// wait for it.
	Handle(h Handler) (stop func(), err error)
}

// A Handler describes a subscribed handler to its [Transport]. A transport that
// retries does so after every error of Deliver, except as [Permanent] and
// [RetryAfter] say.
type Handler struct {
	Name      string       // given with [Named]
	EventType reflect.Type // a struct, or an interface that stands for all events that implement it

	// Deliver calls the handler and returns its error as a [*HandlerError]. After the
	// handler was unsubscribed, Deliver fails with [ErrUnsubscribed].
	Deliver func(ctx context.Context, event Event) error

	Attempts int                             // see [Attempts]; 0: the transport's default
	Backoff  func(attempt int) time.Duration // see [Backoff]; nil: the transport's default
	Timeout  time.Duration                   // see [Timeout]; 0: the transport's default

	// Options are the values given with [TransportOption]. A transport must refuse
	// options of other transports.
	Options []fmt.Stringer

	// Subscription tells where in the code the handler was subscribed, and whether it
	// is still subscribed.
	Subscription *Subscription
}

// Outgoing is an event that the bus gives to a [Transport]. Handlers is empty if
// [WithTransport] sends an event that no handler of this bus subscribes to.
type Outgoing struct {
	Event    Event
	Handlers []string  // their names; Send does not get those unsubscribed since Encode
	Encoded  any       // returned by Encode
	Bus      *EventBus // the bus that the event is published on
}

func mustBeSound(t Transport) {
	if !reflect.TypeOf(t).Comparable() {
		panic(fmt.Sprintf("tidings: %T is not comparable: make the transport a pointer", t))
	}
	if p := t.Phase(); p != AfterCommit && p != InTransaction && p != BeforeCommit {
		panic(fmt.Sprintf("tidings: %T sends in phase %v: it must be InTransaction, BeforeCommit or AfterCommit", t, p))
	}
}

// A batch is a group of events for one call of Send.
type batch struct {
	bus       *EventBus
	transport Transport
	events    []Outgoing
}

// An outbox collects events by transport.
type outbox []*batch
