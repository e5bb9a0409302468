package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

// An Aggregate loads and changes entities of one kind that are stored only as
// their events: accounts, say. Each entity has a stream in the log,
// "account/42"; its state, an S, is computed from the events of the stream.
// Make one with [NewAggregate]; its methods are safe to call concurrently and
// inside a handler.
//
// For most entities, ordinary tables with the log beside them serve better.
type Aggregate[S any] struct {
	log   *Log
	name  string
	apply func(S, tidings.Event) (S, error)
	aggregateSettings

	warned sync.Once // warns that snapshots are not taken
}

type aggregateSettings struct {
	every   int64 // 0: no snapshots
	schema  int
	retries int
	bus     *tidings.EventBus
}

// An AggregateOption is an option of [NewAggregate].
type AggregateOption interface{ applyAggregate(*aggregateSettings) }

type aggregateOption func(*aggregateSettings)

func (f aggregateOption) applyAggregate(s *aggregateSettings) { f(s) }

// WithSnapshotEvery makes [Aggregate.Update] store the state, as JSON, when it had
// to read n events or more, and makes Load begin there. It changes no result: a
// snapshot with another [WithSnapshotVersion], or one that does not fit S, is
// ignored. A snapshot is not taken if it cannot be stored, or would be read as
// a different state, as with unexported fields. The first time that this
// happens to the aggregate, it logs a warning to [slog.Default].
//
// Two states are the same if their values are equal: an empty slice or map
// equals nil, and types with their own JSON are compared by that and by their
// method Equal or Cmp, if they have one, as time.Time and big.Int have. A time
// in the state keeps its offset but loses its zone. WithSnapshotEvery panics if n
// is not positive.
func WithSnapshotEvery(n int) AggregateOption {
	if n < 1 {
		panic(fmt.Sprintf("eventlog: WithSnapshotEvery(%d): must be at least 1", n))
	}
	return aggregateOption(func(s *aggregateSettings) { s.every = int64(n) })
}

// WithSnapshotVersion sets the version of the snapshots; the default is 1. Raise it
// when S changes, or the state that apply computes from an event: snapshots
// with another version are not used. It panics if v is not positive.
func WithSnapshotVersion(v int) AggregateOption {
	if v < 1 || v > math.MaxInt32 {
		panic(fmt.Sprintf("eventlog: WithSnapshotVersion(%d): versions begin at 1", v))
	}
	return aggregateOption(func(s *aggregateSettings) { s.schema = v })
}

// WithRetryOnConflict makes [Aggregate.Update] load and decide again, up to n more
// times, on [ErrConflict]. It has no effect inside a transaction: only the code
// that began the transaction can begin it again. It panics if n is negative.
func WithRetryOnConflict(n int) AggregateOption {
	if n < 0 {
		panic(fmt.Sprintf("eventlog: WithRetryOnConflict(%d): must be at least 0", n))
	}
	return aggregateOption(func(s *aggregateSettings) { s.retries = n })
}

// WithBus makes [Aggregate.Update] publish the events that it appends on bus,
// in the same transaction. It panics if bus is nil.
func WithBus(bus *tidings.EventBus) AggregateOption {
	if bus == nil {
		panic("eventlog: WithBus with a nil *tidings.EventBus")
	}
	return aggregateOption(func(s *aggregateSettings) { s.bus = bus })
}

// NewAggregate returns the aggregate called name, such as "account". apply
// returns the state after an event: state is the zero S before the first. It
// decides nothing, since the event has already happened. It returns an error
// only for an event that cannot be in such a stream, which makes the stream
// unreadable. It may change the memory that state refers to, and must always
// give the same result.
//
// NewAggregate panics if an argument is missing, or if name contains a slash,
// which ends it in the names of streams.
func NewAggregate[S any](log *Log, name string, apply func(state S, event tidings.Event) (S, error), opts ...AggregateOption) *Aggregate[S] {
	if log == nil || apply == nil {
		panic("eventlog: NewAggregate with a nil *Log or function")
	}
	if err := checkStream(name); err != nil || strings.Contains(name, "/") {
		panic(fmt.Sprintf("eventlog: NewAggregate: %q is not a valid name: use a word, such as \"account\"", name))
	}
	a := &Aggregate[S]{log: log, name: name, apply: apply, aggregateSettings: aggregateSettings{schema: 1}}
	for _, o := range opts {
		if o == nil {
			panic("eventlog: NewAggregate with a nil AggregateOption")
		}
		o.applyAggregate(&a.aggregateSettings)
	}
	return a
}

// Stream returns the name of the stream of id, for [Log.ReadStream].
func (a *Aggregate[S]) Stream(id string) string { return a.name + "/" + id }

// Load returns the state of id and the version of its stream: the zero S and 0
// if there is none. In a transaction it sees the events appended there.
//
// The error wraps a [*DecodeError] for an event that cannot be decoded, and the
// error of apply. Where events have been deleted, Load works as long as a
// snapshot replaces them; otherwise the error says which are missing.
func (a *Aggregate[S]) Load(ctx context.Context, id string) (state S, version int64, err error) {
	at, err := a.load(ctx, id)
	if err != nil {
		return state, 0, err
	}
	return at.state, at.version, nil
}

// loaded is the state of an aggregate as loaded.
type loaded[S any] struct {
	stream  string
	state   S
	version int64
	read    int64 // how many events were read for it
}

func (a *Aggregate[S]) load(ctx context.Context, id string) (*loaded[S], error) {
	at := &loaded[S]{stream: a.Stream(id)}
	if id == "" {
		return nil, fmt.Errorf("eventlog: loading %s: the id is empty", at.stream)
	}
	if err := a.read(ctx, at); err != nil {
		return nil, fmt.Errorf("eventlog: loading %s: %w", at.stream, err)
	}
	return at, nil
}

func (a *Aggregate[S]) read(ctx context.Context, at *loaded[S]) error {
	var last snapshot
	if a.every > 0 {
		var err error
		if last, err = a.log.snapshot(ctx, at.stream); err != nil {
			return err
		}
		if last.schema == a.schema { // others may hold anything
			if state, ok := decodeState[S](last.data); ok {
				at.state, at.version = state, last.version
			}
		}
	}
	for r, err := range a.log.ReadStream(ctx, at.stream, FromVersion(at.version+1)) {
		if err != nil {
			return err
		}
		if r.StreamVersion != at.version+1 {
			return fmt.Errorf("its versions %d to %d have been deleted, and there is no snapshot to use in their place", at.version+1, r.StreamVersion-1)
		}
		if at.state, err = a.apply(at.state, r.Event); err != nil {
			return fmt.Errorf("version %d, %s: %w", r.StreamVersion, r.Envelope.Type, err)
		}
		at.version = r.StreamVersion
		at.read++
	}
	if at.version == 0 && a.every == 0 { // a new stream, or one deleted when there were snapshots
		var err error
		if last, err = a.log.snapshot(ctx, at.stream); err != nil {
			return err
		}
	}
	if at.version < last.version {
		return fmt.Errorf("its versions %d to %d have been deleted, and their snapshot is not of version %d or does not fit %T", at.version+1, last.version, a.schema, at.state)
	}
	return nil
}

// Update loads the state of id, calls decide with it, and appends the events
// that decide returns to the stream, as [Log.AppendTo] does: in the transaction
// of ctx, or in one of its own that begins after decide. It returns the new
// state, as Load would return it. Without events nothing is appended.
//
// The error wraps [ErrConflict] if another Update was faster; see
// [WithRetryOnConflict], which calls decide again. An error of decide is returned
// unchanged; an error of apply, or of a handler that refuses, is wrapped; in
// each case nothing is appended. An event that apply refuses is not appended,
// since the stream could not be read any more. decide must not change the
// memory that the state refers to.
func (a *Aggregate[S]) Update(ctx context.Context, id string, decide func(ctx context.Context, state S) ([]tidings.Event, error)) (S, error) {
	var zero S
	if decide == nil {
		return zero, errors.New("eventlog: Update with a nil function")
	}
	for tries := a.retries; ; tries-- {
		at, err := a.load(ctx, id)
		if err != nil {
			return zero, err
		}
		fail := func(err error) (S, error) {
			return zero, fmt.Errorf("eventlog: updating %s: %w", at.stream, err)
		}
		due := a.due(ctx, at) // before decide and apply can change the state
		events, err := decide(ctx, at.state)
		if err != nil {
			return zero, err
		}
		if len(events) == 0 {
			return at.state, nil
		}
		records, err := a.next(ctx, at, events)
		if err != nil {
			return fail(err)
		}
		if err := a.store(ctx, at, records, due); err != nil {
			if tx, txErr := a.log.db.Tx(ctx); tries > 0 && tx == nil && txErr == nil && errors.Is(err, ErrConflict) {
				continue
			}
			return fail(err)
		}
		return at.state, nil
	}
}

// due returns the snapshot to store, with version 0 if there is none.
func (a *Aggregate[S]) due(ctx context.Context, at *loaded[S]) snapshot {
	if a.every == 0 || at.read < a.every {
		return snapshot{}
	}
	data, err := encodeState(at.state)
	if err != nil {
		a.without(ctx, at, err)
		return snapshot{}
	}
	return snapshot{version: at.version, schema: a.schema, data: data}
}

// without warns, once, that there are no snapshots.
func (a *Aggregate[S]) without(ctx context.Context, at *loaded[S], err error) {
	a.warned.Do(func() {
		slog.WarnContext(ctx, "eventlog: a snapshot cannot be taken, so all events are read each time",
			slog.String("stream", at.stream), slog.String("state", fmt.Sprintf("%T", at.state)), slog.Any("error", err))
	})
}

// next prepares events for the log, and applies to the state what will be read
// back from the log: it may be less than decide returned.
func (a *Aggregate[S]) next(ctx context.Context, at *loaded[S], events []tidings.Event) ([]Recorded, error) {
	records, err := a.log.prepare(ctx, events)
	if err != nil {
		return nil, err
	}
	for i := range records {
		event, err := a.log.registry.Unwrap(records[i].Envelope)
		if err == nil {
			at.state, err = a.apply(at.state, event)
		}
		if err != nil {
			return nil, fmt.Errorf("version %d would be %s: %w", at.version+int64(i)+1, records[i].Envelope.Type, err)
		}
	}
	return records, nil
}

// store appends records after the loaded version.
func (a *Aggregate[S]) store(ctx context.Context, at *loaded[S], records []Recorded, due snapshot) error {
	_, err := a.log.appendWith(ctx, at.stream, at.version, records, func(ctx context.Context, tx backend.Querier) error {
		if due.version > 0 {
			// In a savepoint: a snapshot that the database rejects is no reason
			// to fail.
			err := a.log.db.InTx(ctx, func(ctx context.Context, tx backend.Querier) error {
				return a.log.putSnapshot(ctx, tx, at.stream, due)
			})
			if err != nil {
				a.without(ctx, at, err)
			}
		}
		if a.bus == nil {
			return nil
		}
		for i := range records {
			if err := tidings.Publish(ctx, a.bus, records[i].Event); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
