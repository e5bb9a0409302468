package tidings

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// An Event says that something happened. Only structs that embed [DomainEvent] by
// value implement Event; it has an unexported method.
//
// For a struct that does not embed DomainEvent, the compiler reports that it "does
// not satisfy tidings.Event (missing method CausationID)".
type Event interface {
	// EventID identifies this one occurrence. It is a UUIDv7.
	EventID() uuid.UUID
	// OccurredAt is when the event was published or stamped: the time at which
	// [Publish] or [Stamp] filled in the header, in UTC, truncated to microseconds.
	OccurredAt() time.Time
	// CorrelationID identifies the workflow that the event belongs to: it is the ID
	// of the event that started the workflow, or the ID set by [WithCorrelationID].
	CorrelationID() uuid.UUID
	// CausationID is the ID of the event whose handler published this event, or
	// uuid.Nil if no handler did.
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
// [Publish] fills in the header of its own copy of the event; [Stamp] returns a copy
// with the header filled in. A DomainEvent has no setters, and no methods other than
// accessors: a method such as String, Equal or MarshalJSON would be promoted to the
// event and would hide the event's other fields.
//
// So json.Marshal of an event writes its fields without the header; [Registry.Encode]
// writes both. Other embedded types do promote such methods: use a uuid.UUID, a
// time.Time or a [List] as a named field.
type DomainEvent struct {
	id          uuid.UUID
	correlation uuid.UUID
	causation   uuid.UUID
	occurred    int64 // microseconds since the Unix epoch, so that == and a database agree
}

// EventID returns the event's ID, or uuid.Nil if the header was not filled in yet.
func (e DomainEvent) EventID() uuid.UUID { return e.id }

// OccurredAt returns when the header was filled in, in UTC and without a monotonic
// clock reading, or the zero time if it was not filled in yet.
func (e DomainEvent) OccurredAt() time.Time {
	if e.id == uuid.Nil {
		return time.Time{}
	}
	return time.UnixMicro(e.occurred).UTC()
}

// CorrelationID returns the ID of the event's workflow.
func (e DomainEvent) CorrelationID() uuid.UUID { return e.correlation }

// CausationID returns the ID of the event that caused this one, or uuid.Nil.
func (e DomainEvent) CausationID() uuid.UUID { return e.causation }

func (e DomainEvent) domainEvent() DomainEvent { return e }

// stamp fills in the header of an event that is published now. clock gives the time
// (nil: time.Now), and origin is the header of the event that caused it (nil: none).
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
	// From the registers: reading e.id back would wait for both halves to be stored.
	put(&e.correlation, hi, lo)
}

func put(id *uuid.UUID, hi, lo uint64) {
	binary.BigEndian.PutUint64(id[:8], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
}

// lastTick is the time part of the newest ID: milliseconds since the epoch in the
// upper 48 of 60 bits, and the fraction of the millisecond, in 1/3906ths, in the
// lower 12. It only grows, so IDs strictly increase.
var lastTick atomic.Int64

// newID returns a UUIDv7 (RFC 9562, section 5.7) for the time ns, in nanoseconds
// since the epoch. The 12 bits after the milliseconds hold the sub-millisecond time
// or, if several IDs fall into one tick or the clock steps back, a counter (section
// 6.2, method 3). newID uses the machine's clock even if WithClock sets another one:
// a test's clock in the year 2099 would otherwise move every later ID of the process
// there.
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
