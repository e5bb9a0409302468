package tidings

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// An Event says that something happened. Only a struct that embeds
// [DomainEvent] by value is one; the interface is sealed.
//
// The compiler reports a struct without it as one that "does not satisfy
// tidings.Event (missing method CausationID)".
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

// stamp fills in the header of an event that is published now, as clock tells it
// (nil: time.Now), because of the one with the header origin (nil: none).
func (e *DomainEvent) stamp(origin *DomainEvent, clock func() time.Time) {
	now := time.Now().UnixNano()
	hi, lo := newID(now)
	e.occurred = now / 1e3
	if clock != nil {
		e.occurred = clock().UnixMicro()
	}
	put(&e.id, hi, lo)
	if origin != nil {
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
