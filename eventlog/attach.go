package eventlog

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidings-go/tidings"
)

// handlerName is what the log is called among the handlers of a bus.
const handlerName = "eventlog"

// Attach has every event that is published on bus appended to the log, in
// the publisher's transaction, just before it commits and for all its events
// at once; outside a transaction at once, before the handlers run. With names
// only events registered under one of these are appended.
//
// What cannot be encoded fails the publish, and what cannot be appended the
// transaction. An event that the log has already, by its ID, is not appended
// again. To detach, call Unsubscribe.
//
// Attach panics on a nil bus, a name that is not registered, and on a bus
// that has a log already.
func (l *Log) Attach(bus *tidings.EventBus, names ...string) *tidings.Subscription {
	only := map[string]bool{}
	registrations := l.registry.Registrations()
	for _, name := range names {
		if !slices.ContainsFunc(registrations, func(r tidings.RegistrationInfo) bool { return r.Name == name }) {
			panic(fmt.Sprintf("eventlog: Attach: %q is not registered", name))
		}
		only[name] = true
	}
	return tidings.Subscribe(bus, unreachable, tidings.Named(handlerName), tidings.Via(&appender{log: l, only: only}))
}

// unreachable stands for the log among the handlers. It is not called: the
// appender is a transport that ends here.
func unreachable(context.Context, tidings.Event) error {
	return fmt.Errorf("eventlog: the handler %q is called by nobody", handlerName)
}

// An appender is the transport that appends.
type appender struct {
	log  *Log
	only map[string]bool // by registered name; empty: all
}

var _ tidings.Encoder = (*appender)(nil)

func (a *appender) Phase() tidings.Phase { return tidings.BeforeCommit }

func (a *appender) Handle(string, func(context.Context, tidings.Event) error) error { return nil }

// EncodeEvent returns a row, or nil for what is not to be appended.
func (a *appender) EncodeEvent(_ context.Context, event tidings.Event, isNew bool) (any, error) {
	if len(a.only) > 0 {
		name, ok := a.log.registry.NameOf(event)
		if !ok || !a.only[name] {
			return nil, nil
		}
	}
	e, err := a.log.registry.Wrap(event)
	if err != nil {
		return nil, err
	}
	return &row{Envelope: e, isNew: isNew, during: a.log.publishers.current()}, nil
}

func (a *appender) Send(ctx context.Context, events []tidings.Outgoing) error {
	rows := make([]row, 0, len(events))
	on := conflictFails // which costs less, and does not happen to new events
	for _, e := range events {
		if r, ok := e.Encoded.(*row); ok {
			rows = append(rows, *r)
			if !r.isNew || a.log.repeats.Load() {
				on = conflictSkips
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := a.log.append(ctx, rows, on); err != nil {
		// One error is enough: the transaction is lost as a whole.
		err = fmt.Errorf("appending %d events: %w", len(rows), err)
		return &tidings.HandlerError{Handler: handlerName, Event: events[0].Event, Err: err}
	}
	return nil
}
