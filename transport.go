package tidings

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// A Transport runs handlers elsewhere or later: as stored jobs, or behind a
// broker. Users name it in [Via] or [WithTransport]; what follows is for
// those who write one. Package tidingstest has a suite that checks it.
//
//   - All methods are safe to call concurrently.
//   - The dynamic type is comparable, best a pointer. A transport may hand
//     out views of itself, to carry the settings of one handler.
//   - An event goes to the handlers of the names that it was sent for, each
//     independently of the others, at least once unless the transport says
//     otherwise. Events of one transaction are sent in order of publishing.
//   - The context that deliver gets may carry the transaction of the work
//     ([WithTx], [Transact]). It must not carry that of the publisher.
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
	// Outgoing.Encoded. Its error is that of Publish: no handler runs, and
	// the event is not queued. isNew says that this publish has stamped the
	// event, so that nobody has seen its ID before. EncodeEvent is called
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

// Via lets t run the handler. The handler must be [Named], and has no
// [Phase] of its own: that of the transport counts.
func Via(t Transport) SubscribeOption {
	mustNotBeNil(t == nil, "Via", "Transport")
	mustBeSound(t)
	return subscribeOption(func(s *settings) { s.via(t) })
}

// Async runs the handler on a worker of this process, after the commit:
// one event at a time, in the order of publishing. The publisher does not
// wait, and never for room in the queue, see [WithQueueLimit]. Failures go
// to the bus's error handler. The handler's context has the values of the
// publisher's, but neither its cancellation nor its transaction, and events
// that handlers publish with it are nested as everywhere: a chain that is longer
// than [WithMaxDepth] ends with [ErrMaxDepth]. A handler that goes on for ever by
// publishing to itself does so with a context from outside. What is queued when
// the process dies is lost; [EventBus.Close] drains it.
func Async() SubscribeOption {
	return subscribeOption(func(s *settings) { s.via(s.sub.bus.async) })
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

// register tells the transport of its handler.
func (s *Subscription) register() (err error) {
	switch t := s.transport.(type) {
	case Broadcaster:
		s.stop, err = t.HandleType(s.key(), s.event, s.deliver)
		return err
	case Binder:
		return t.Bind(s, s.deliver)
	}
	return s.transport.Handle(s.key(), s.deliver)
}

// key is what the transport knows the handler by: its name, or if it has
// none, which only Async allows, that of the function and a number.
func (s *Subscription) key() string {
	if s.serial > 0 {
		return fmt.Sprintf("%s\x00%d", s.name, s.serial)
	}
	return s.name
}

// deliver runs the handler for an event that its transport delivers.
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
	return s.bus.topicOf(event).deliver(ctx, event, s)
}

// A route is a transport that events of one type are sent through, and the
// handlers there. Routes are immutable.
type route struct {
	transport Transport
	phase     Phase
	subs      []*Subscription
	keys      []string
}

// live returns the names in r of those that are still subscribed, and
// whether there is anything to send.
func (r *route) live(bus *EventBus) (keys []string, any bool) {
	for i, sub := range r.subs {
		if !sub.removed.Load() {
			keys = append(keys, r.keys[i])
		}
	}
	return keys, len(keys) > 0 || r.transport == bus.sender
}

// encode returns what the encoders among routes make of event, by index of
// the route; nil if there are none.
func (t *topic[E]) encode(ctx context.Context, routes []*route, event *E, isNew bool) (encoded []any, err error) {
	for i, r := range routes {
		encoder, ok := r.transport.(Encoder)
		if !ok {
			continue
		}
		if encoded == nil {
			encoded = make([]any, len(routes))
		}
		copied, err := t.copyBoxed(event)
		if err != nil {
			return nil, err
		}
		err = protect(func() (err error) {
			encoded[i], err = encoder.EncodeEvent(ctx, copied, isNew)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("tidings: %s is not published: %w", t.event.name, err)
		}
	}
	return encoded, nil
}

// encodedFor returns what the encoder of the route with that index made.
func encodedFor(encoded []any, route int) any {
	if encoded == nil {
		return nil
	}
	return encoded[route]
}

// A batch is what is handed to one transport at once.
type batch struct {
	bus       *EventBus
	transport Transport
	events    []Outgoing
}

// hand calls Send, contains its panics, and returns an error for each event
// that was not accepted.
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

// refused returns an error for each event.
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

// handAfter hands over after a commit, when failures can only be reported.
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
			of = b.bus.topicOf(he.Event).contextOf(ctx, he.Event)
		}
		failures = append(failures, failure{of, b.bus, err})
	}
	return failures
}
