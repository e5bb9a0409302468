package eventlog

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/tidings-go/tidings"
)

// A ReplayOption is an option of [Replay], [Log.Backfill] and [Log.ReplayTo]:
// [Progress], [Rate], [DryRun], [Resume], [SkipUndecodable], and every
// [Filter].
type ReplayOption interface{ replay(*replaySettings) }

type replaySettings struct {
	filters  []Filter
	progress func(ReplayProgress)
	rate     float64 // events per second; 0: as fast as they are handled
	rated    bool
	dry      bool
	resume   string // the name of the cursor; "": none
	resumes  bool
	skip     func(*DecodeError)
}

type replayOption func(*replaySettings)

func (o replayOption) replay(s *replaySettings) { o(s) }

// Progress makes a replay call report after each event, in the goroutine of the
// replay.
func Progress(report func(ReplayProgress)) ReplayOption {
	return replayOption(func(s *replaySettings) { s.progress = report })
}

// A ReplayProgress says how far a replay has come.
type ReplayProgress struct {
	Done     int      // events, including those that the handler is not for
	Total    int      // the events at the start and those that have arrived since
	Position Position // of the last event
}

// Rate limits a replay to this many events per second.
func Rate(perSecond float64) ReplayOption {
	return replayOption(func(s *replaySettings) { s.rate, s.rated = perSecond, true })
}

// DryRun reads and decodes events and calls no handler: the report says how
// many events there are, and the error whether one cannot be decoded. Nothing
// is stored.
func DryRun() ReplayOption {
	return replayOption(func(s *replaySettings) { s.dry = true })
}

// Resume stores in the log's database, under a name, how far the replay has
// come. An interrupted replay continues after the last event whose handler
// succeeded; a completed one continues with the events appended since. Use a
// name only with the same handler and the same filters. If two replays use a
// name at once, one of them fails.
//
// The handler of each event runs in a transaction that also stores the place:
// what it writes through the transaction (tidings.TxFrom and [tidings.InTx]
// find it) takes effect once. Effects elsewhere may be repeated for one event.
func Resume(name string) ReplayOption {
	return replayOption(func(s *replaySettings) { s.resume, s.resumes = name, true })
}

// SkipUndecodable makes a replay go on after an event that cannot be decoded,
// once it has called report.
func SkipUndecodable(report func(*DecodeError)) ReplayOption {
	return replayOption(func(s *replaySettings) { s.skip = report })
}

// A ReplayReport says what a replay has done, even if it failed.
type ReplayReport struct {
	Handled     int      // events that the handler has handled; would have, in a [DryRun]
	Undecodable int      // events that were skipped, see [SkipUndecodable]
	Position    Position // of the last event that it has finished
}

// Replay calls handler for the events of type E that are in the log when it
// begins, in the order of their positions. If E is an interface, Replay reads
// all events and leaves out those that do not implement it. It runs in the
// caller's goroutine.
//
// The handler's context carries the event, as if a bus had delivered it, so the
// events that the handler publishes are correlated, and [Replaying] is true.
//
// An error of the handler ends the replay, as does an event that cannot be
// decoded (but see [SkipUndecodable]); the error names the event and its
// position. History is read in pages, and without [Resume] no connection is
// held while the handler runs.
//
// On Postgres Replay begins once all transactions have ended that could put
// events between those of the log. Inside a transaction it returns an error.
func Replay[E tidings.Event](ctx context.Context, log *Log, handler func(context.Context, E) error, opts ...ReplayOption) (ReplayReport, error) {
	if log == nil || handler == nil {
		return ReplayReport{}, errors.New("eventlog: Replay with a nil Log or handler")
	}
	// A bus of its own, for the context and the errors that handlers get. There
	// is no other handler to share an event with.
	bus := tidings.New(tidings.WithSharedEvents())
	unnamed := tidings.Subscribe(bus, handler)
	name := bus.Subscriptions()[0].Handler
	unnamed.Unsubscribe()
	tidings.Subscribe(bus, handler, tidings.Named(name))

	r, err := log.newReplay("Replay", opts)
	if err != nil {
		return ReplayReport{}, err
	}
	r.handler = name
	r.deliver = func(ctx context.Context, event tidings.Event) error { return bus.Deliver(ctx, name, event) }
	if err := r.only(reflect.TypeFor[E]()); err != nil {
		return ReplayReport{}, err
	}
	return r.all(ctx)
}

// ReplayTo publishes events of the log on bus, with their stored headers, in
// the order of their positions: those that are in the log when it begins. All
// handlers on bus are called, including those with [Log.CatchUp], and
// [Replaying] is true in them; an error of one ends the replay. A log that is
// attached to bus does not append the events that it already has.
//
// Otherwise it works like [Replay]. With [Resume], each event is published
// outside a transaction, and the place is stored once its handlers have
// returned: after an interruption one event may be published again.
func (l *Log) ReplayTo(ctx context.Context, bus *tidings.EventBus, opts ...ReplayOption) (ReplayReport, error) {
	if bus == nil {
		return ReplayReport{}, errors.New("eventlog: ReplayTo a nil *EventBus")
	}
	r, err := l.newReplay("ReplayTo", opts)
	if err != nil {
		return ReplayReport{}, err
	}
	r.alone = true
	r.deliver = func(ctx context.Context, event tidings.Event) error { return tidings.Publish(ctx, bus, event) }
	return r.all(ctx)
}

// all replays the events that are there at the start.
func (r *replay) all(ctx context.Context) (ReplayReport, error) {
	if err := r.begin(ctx); err != nil {
		return r.report, err
	}
	upTo, err := r.log.settledLast(ctx)
	if err == nil {
		_, err = r.round(ctx, r.settings.filters, upTo)
	}
	return r.report, err
}

// newReplay returns a replay without a handler.
func (l *Log) newReplay(function string, opts []ReplayOption) (*replay, error) {
	r := &replay{log: l, function: function}
	s := &r.settings
	for _, o := range opts {
		if o == nil {
			return nil, fmt.Errorf("eventlog: %s with a nil ReplayOption", function)
		}
		o.replay(s)
	}
	switch {
	case s.rated && !(s.rate > 0):
		return nil, fmt.Errorf("eventlog: %s with Rate(%v): must be more than 0 events per second", function, s.rate)
	case s.resumes && s.resume == "":
		return nil, fmt.Errorf(`eventlog: %s with Resume(""): give the cursor a name`, function)
	}
	return r, nil
}

// only restricts r to events of type typ, in the database where possible.
func (r *replay) only(typ reflect.Type) error {
	r.event = typ
	if typ.Kind() == reflect.Interface {
		return nil
	}
	for _, registered := range r.log.registry.Registrations() {
		if registered.EventType == typ {
			r.types = []Filter{Types(registered.Name)}
			return nil
		}
	}
	return fmt.Errorf("eventlog: %s: %s is %w: the log has events that are registered", r.function, typ, tidings.ErrUnregistered)
}
