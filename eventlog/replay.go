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

// Progress has report called after each event, in the goroutine of the replay.
func Progress(report func(ReplayProgress)) ReplayOption {
	return replayOption(func(s *replaySettings) { s.progress = report })
}

// A ReplayProgress says how far a replay has come.
type ReplayProgress struct {
	Done     int      // events, those included that the handler is not for
	Total    int      // that there were at the start, and that came since
	Position Position // of the last event
}

// Rate slows a replay down to so many events per second, at most.
func Rate(perSecond float64) ReplayOption {
	return replayOption(func(s *replaySettings) { s.rate, s.rated = perSecond, true })
}

// DryRun reads and decodes, and calls no handler: the report says how many
// events there are, and the error whether one cannot be decoded. Nothing is
// stored.
func DryRun() ReplayOption {
	return replayOption(func(s *replaySettings) { s.dry = true })
}

// Resume keeps in the log's database how far the replay has come, under a
// name: one that was interrupted goes on after the last event whose handler
// succeeded, and one that came to its end with what was appended since. Use
// a name with the same handler and the same filters only; two replays that
// use it at once get in each other's way, and one of them fails.
//
// The handler of each event runs in a transaction, in which the place is
// stored as well: what it writes through the transaction (tidings.TxFrom and
// [tidings.InTx] find it) takes effect once. What it does elsewhere may be
// repeated for one event.
func Resume(name string) ReplayOption {
	return replayOption(func(s *replaySettings) { s.resume, s.resumes = name, true })
}

// SkipUndecodable has a replay go on after an event that cannot be decoded,
// once it has told report.
func SkipUndecodable(report func(*DecodeError)) ReplayOption {
	return replayOption(func(s *replaySettings) { s.skip = report })
}

// A ReplayReport says what a replay has done, also one that has failed.
type ReplayReport struct {
	Handled     int      // events that the handler has handled; would have, in a [DryRun]
	Undecodable int      // events that were skipped, see [SkipUndecodable]
	Position    Position // of the last event that it is through with
}

// Replay calls handler for the events of the log that are an E, in the order
// of their positions: those that are in the log when it begins. E may be an
// interface; Replay goes through all events then, and leaves out those that
// do not implement it. It runs in the caller's goroutine.
//
// The context of the handler carries the event, as if a bus had delivered it,
// so what the handler publishes is correlated, and [Replaying] is true.
//
// An error of the handler ends the replay, as does an event that cannot be
// decoded (but see [SkipUndecodable]); the error names the event and its
// position. History is read in pages, and no connection is held while the
// handler runs, unless with [Resume].
//
// On Postgres Replay begins once the transactions have ended that could put
// events between those of the log. Inside a transaction it is an error.
func Replay[E tidings.Event](ctx context.Context, log *Log, handler func(context.Context, E) error, opts ...ReplayOption) (ReplayReport, error) {
	if log == nil || handler == nil {
		return ReplayReport{}, errors.New("eventlog: Replay with a nil Log or handler")
	}
	// A bus of its own, for the context and the errors that handlers get.
	// There is nobody whom the handler could share an event with.
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

// ReplayTo publishes events of the log on bus, with the headers that they
// have, in the order of their positions: those that are in the log when it
// begins. All handlers on bus are called, also those with [Log.CatchUp], and
// [Replaying] is true in them; an error of one ends the replay. A log that
// is attached to bus does not append the events that it has.
//
// It is otherwise like [Replay]. With [Resume], each event is published
// outside of a transaction, and the place stored once its handlers have
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

// all replays what there is at the start.
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

// only narrows r to the events of type typ, in the database where it can.
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
