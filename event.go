package tidings

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/google/uuid"
)

// An Event says that something happened. Only a struct that embeds
// [DomainEvent] by value is one; the interface is sealed.
type Event interface {
	// EventID identifies this one occurrence. It is a UUIDv7.
	EventID() uuid.UUID
	// OccurredAt is the time of stamping, in UTC, cut to microseconds.
	OccurredAt() time.Time
	// CorrelationID names the workflow that the event belongs to: the
	// ID of the event that started it, or what [WithCorrelationID] set.
	CorrelationID() uuid.UUID
	// CausationID is the ID of the event whose handler published this
	// one, and uuid.Nil where there was none.
	CausationID() uuid.UUID

	domainEvent() DomainEvent
}

// DomainEvent is the header of an event. Embed it by value:
//
//	type ProposalAccepted struct {
//		tidings.DomainEvent
//		ProposalID int64
//	}
//
// [Publish] fills it in on its own copy of the event, or [Stamp] does. It
// has no setters, and no methods but the accessors: a String, Equal or
// MarshalJSON here would be promoted and hide the rest of the event.
//
// So json.Marshal of an event gives its fields without the header, which
// [Registry.Encode] writes beside them. Other embedded types do promote such
// methods: give a uuid.UUID, a time.Time or a [List] a field name.
type DomainEvent struct {
	id          uuid.UUID
	correlation uuid.UUID
	causation   uuid.UUID
	occurred    int64 // microseconds since the Unix epoch, so that == and a database agree
}

// EventID returns the event's ID, uuid.Nil before it is stamped.
func (e DomainEvent) EventID() uuid.UUID { return e.id }

// OccurredAt returns when the event was stamped, in UTC and without a
// monotonic reading, and the zero time before that.
func (e DomainEvent) OccurredAt() time.Time {
	if e.id == uuid.Nil {
		return time.Time{}
	}
	return time.UnixMicro(e.occurred).UTC()
}

// CorrelationID returns the ID of the event's workflow.
func (e DomainEvent) CorrelationID() uuid.UUID { return e.correlation }

// CausationID returns the ID of the event that led to this one.
func (e DomainEvent) CausationID() uuid.UUID { return e.causation }

func (e DomainEvent) domainEvent() DomainEvent { return e }

// Stamp returns event with its header filled in as [Publish] would, for
// code that records an event before it publishes it. An event that has a
// header already is returned as it is. Stamp panics if E cannot be an
// event (a pointer, or a struct with two headers): no value of such a type
// can be published. It is safe to call concurrently and inside a handler,
// where the correlation, the causation and the bus's clock come from ctx.
func Stamp[E Event](ctx context.Context, event E) E {
	typ := reflect.TypeFor[E]()
	if typ.Kind() == reflect.Interface {
		if any(event) == nil {
			panic("tidings: Stamp of a nil event")
		}
		n := nodeFrom(ctx)
		return any(describe(reflect.TypeOf(event)).mustBeEvent().stampBoxed(n, n.clock(), event)).(E)
	}
	if head := headerAt(&event, describe(typ).mustBeEvent().header); head.id == uuid.Nil {
		n := nodeFrom(ctx)
		head.stamp(n, n.clock())
	}
	return event
}

// WithCorrelationID returns a context in which published events belong to
// the workflow id: a request ID or a saga that began outside this process.
// Inside a handler the causation stays what it was.
func WithCorrelationID(ctx context.Context, id uuid.UUID) context.Context {
	up := nodeFrom(ctx)
	head := DomainEvent{id: up.origin().id, correlation: id}
	info := &topicInfo{header: func(*node) DomainEvent { return head }}
	return newNode(ctx, place{up, info, up.transactions()})
}

// EventFrom returns the event whose handler ctx belongs to. It is a copy
// like the one that the handler received.
func EventFrom(ctx context.Context) (Event, bool) {
	e, ok := ctx.Value(eventKey{}).(Event)
	return e, ok
}

// stamp fills in the header of an event that is published in n now, as clock
// tells it (nil: time.Now).
func (e *DomainEvent) stamp(n *node, clock func() time.Time) {
	now := time.Now().UnixNano()
	hi, lo := newID(now)
	e.occurred = now / 1e3
	if clock != nil {
		e.occurred = clock().UnixMicro()
	}
	put(&e.id, hi, lo)
	if n != nil {
		origin := n.origin()
		e.causation = origin.id
		if origin.correlation != uuid.Nil {
			e.correlation = origin.correlation
			return
		}
	}
	// From the registers: to read back e.id would wait for its two halves.
	put(&e.correlation, hi, lo)
}

func put(id *uuid.UUID, hi, lo uint64) {
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
}

// headerAt returns the header inside *event. The offset is that of the one
// header embedded in E, found once by reflection (describe). This is the
// only place that relies on it: it stamps an event of any type without
// moving it to the heap.
func headerAt[E any](event *E, offset uintptr) *DomainEvent {
	return (*DomainEvent)(unsafe.Add(unsafe.Pointer(event), offset))
}

// lastTick is the time part of the newest ID: milliseconds since the epoch
// in the upper 48 of 60 bits, the fraction of the millisecond in 1/3906ths
// in the lower 12. It only grows, so IDs strictly increase.
var lastTick atomic.Int64

// newID returns a UUIDv7 (RFC 9562, section 5.7) of the time ns, in
// nanoseconds since the epoch. The 12 bits after the milliseconds hold the
// sub-millisecond time or, when several fall into one tick or the clock
// steps back, a count (section 6.2, method 3). It takes the machine's time
// whatever WithClock says: a test's clock in the year 2099 would otherwise
// push every later ID of the process there.
func newID(ns int64) (hi, lo uint64) {
	tick := ns/1e6<<12 | ns%1e6>>8
	for {
		last := lastTick.Load()
		tick = max(tick, last+1)
		if lastTick.CompareAndSwap(last, tick) {
			break
		}
	}
	const version, variant = 7 << 12, 0b10 << 62
	return uint64(tick)>>12<<16 | version | uint64(tick)&0xfff, rand.Uint64()>>2 | variant
}
