package eventlog

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidings-go/tidings"
)

// handlerName is the name of the log among the handlers of a bus.
const handlerName = "eventlog"

// Attach makes the log append every event that is published on bus, in the
// publisher's transaction, just before it commits and all its events at once;
// outside a transaction immediately, before the handlers run. With names, only
// events registered under one of these are appended.
//
// An event that cannot be encoded fails the publish; an event that cannot be
// appended fails the transaction. An event that the log has already, by its ID,
// is not appended again. To detach, call Unsubscribe.
//
// Without names, an event type that is not registered can no longer be
// published on bus. A warning in [slog.Default] names each such type that a
// handler on bus is subscribed to: when Attach is called, and when the first
// event is published.
//
// Attach panics on a nil bus, on a name that is not registered, and on a bus
// that already has a log.
func (l *Log) Attach(bus *tidings.EventBus, names ...string) *tidings.Subscription {
	only := map[string]bool{}
	registrations := l.registry.Registrations()
	for _, name := range names {
		if !slices.ContainsFunc(registrations, func(r tidings.RegistrationInfo) bool { return r.Name == name }) {
			panic(fmt.Sprintf("eventlog: Attach: %q is not registered", name))
		}
		only[name] = true
	}
	a := &appender{log: l, bus: bus, only: only}
	sub := tidings.Subscribe(bus, unreachable, tidings.Named(handlerName), tidings.Via(a))
	a.warn()
	return sub
}

// attachedTo returns the log attached to a bus with these subscriptions, or
// nil.
func attachedTo(infos []tidings.SubscriptionInfo) *Log {
	for _, info := range infos {
		if a, ok := info.Transport.(*appender); ok {
			return a.log
		}
	}
	return nil
}

// unreachable represents the log among the handlers. It is not called: the
// appender is a transport that delivers to no handler.
func unreachable(context.Context, tidings.Event) error {
	return fmt.Errorf("eventlog: the handler %q is never called", handlerName)
}

// An appender is the transport that appends events to the log.
type appender struct {
	log  *Log
	bus  *tidings.EventBus
	only map[string]bool // by registered name; empty: all

	began  atomic.Bool // an event was published
	mu     sync.Mutex
	warned map[reflect.Type]bool
}

func (a *appender) Phase() tidings.Phase { return tidings.BeforeCommit }

func (a *appender) Handle(tidings.Handler) (func(), error) { return nil, nil }

// warn logs which event types have a handler but cannot be published. It is
// called when the log is attached, and again at the first publish, when
// handlers may have been subscribed since.
func (a *appender) warn() {
	if len(a.only) > 0 {
		return
	}
	registered := map[reflect.Type]bool{}
	for _, r := range a.log.registry.Registrations() {
		registered[r.EventType] = true
	}
	for _, s := range a.bus.Subscriptions() {
		if s.EventType.Kind() == reflect.Interface || registered[s.EventType] || !a.warnsOf(s.EventType) {
			continue
		}
		slog.Warn("eventlog: events of this type cannot be published while the log is attached to the bus: Register it, or Attach with the names of those that belong in the log",
			slog.String("type", s.EventType.String()), slog.String("handler", s.Handler), slog.String("subscribed", fmt.Sprintf("%s:%d", s.File, s.Line)))
	}
}

// warnsOf reports whether a type has not been warned about before.
func (a *appender) warnsOf(typ reflect.Type) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.warned[typ] {
		return false
	}
	if a.warned == nil {
		a.warned = map[reflect.Type]bool{}
	}
	a.warned[typ] = true
	return true
}

// Encode returns a row, or nil for an event that is not to be appended.
func (a *appender) Encode(ctx context.Context, out tidings.Outgoing) (any, error) {
	if !a.began.Load() && a.began.CompareAndSwap(false, true) {
		a.warn()
	}
	if len(a.only) > 0 {
		name, ok := a.log.registry.NameOf(out.Event)
		if !ok || !a.only[name] {
			return nil, nil
		}
	}
	e, err := a.log.registry.Wrap(out.Event)
	if err != nil {
		return nil, err
	}
	a.log.publishers.add(ctx)
	return &row{Envelope: e}, nil
}

func (a *appender) Send(ctx context.Context, events []tidings.Outgoing) error {
	rows := make([]row, 0, len(events))
	for _, e := range events {
		if r, ok := e.Encoded.(*row); ok {
			rows = append(rows, *r)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := a.log.append(ctx, rows); err != nil {
		// One error is enough: the whole transaction is lost.
		err = fmt.Errorf("appending %d events: %w", len(rows), err)
		return &tidings.HandlerError{Handler: handlerName, Event: events[0].Event, Err: err}
	}
	return nil
}
