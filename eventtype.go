package tidings

import (
	"fmt"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/google/uuid"
)

// An eventType is what reflection finds out about one type of events.
// It is computed once per type and immutable.
type eventType struct {
	typ    reflect.Type
	name   string  // "crm.ProposalAccepted"
	header uintptr // offset of the embedded DomainEvent
	clone  int     // index of the method Clone() E, or -1
	err    error   // why no value of this type is an event
}

var (
	// eventTypes is replaced under eventTypesMu and never changed.
	eventTypes   atomic.Pointer[map[typeID]*eventType]
	eventTypesMu sync.Mutex

	domainEventType = reflect.TypeFor[DomainEvent]()
	eventInterface  = reflect.TypeFor[Event]()
)

// A typeID is the address of a type's descriptor: what a reflect.Type is
// equal by, without the cost of hashing an interface.
type typeID unsafe.Pointer

func idOf(typ reflect.Type) typeID {
	return typeID((*[2]unsafe.Pointer)(unsafe.Pointer(&typ))[1])
}

func describe(typ reflect.Type) *eventType {
	if types := eventTypes.Load(); types != nil {
		if t, ok := (*types)[idOf(typ)]; ok {
			return t
		}
	}
	return describeFirst(typ)
}

func describeFirst(typ reflect.Type) *eventType {
	t := &eventType{typ: typ, name: typ.String(), clone: -1}
	t.header, t.err = findHeader(typ)
	if m, ok := typ.MethodByName("Clone"); ok && returnsOnly(m, typ) {
		t.clone = m.Index
	}
	eventTypesMu.Lock()
	defer eventTypesMu.Unlock()
	types := map[typeID]*eventType{}
	if known := eventTypes.Load(); known != nil {
		if t, ok := (*known)[idOf(typ)]; ok {
			return t
		}
		types = maps.Clone(*known)
	}
	types[idOf(typ)] = t
	eventTypes.Store(&types)
	return t
}

// clonesByPointer reports whether the type has its Clone on the pointer,
// where an event, which is a value, does not have it.
func (t *eventType) clonesByPointer() bool {
	if _, ok := t.typ.MethodByName("Clone"); ok {
		return false
	}
	m, ok := reflect.PointerTo(t.typ).MethodByName("Clone")
	return ok && returnsOnly(m, t.typ)
}

// returnsOnly reports whether m takes nothing and returns one typ.
func returnsOnly(m reflect.Method, typ reflect.Type) bool {
	return m.Type.NumIn() == 1 && m.Type.NumOut() == 1 && m.Type.Out(0) == typ
}

// findHeader returns the offset of the one DomainEvent that typ embeds by
// value, directly or through embedded structs.
func findHeader(typ reflect.Type) (uintptr, error) {
	switch {
	case typ.Kind() == reflect.Pointer:
		return 0, fmt.Errorf("tidings: %s is a pointer, which handlers would share: publish and subscribe to the struct %s itself", typ, typ.Elem())
	case typ.Kind() != reflect.Struct || typ == domainEventType:
		return 0, fmt.Errorf("tidings: %s is no event type: declare a struct that embeds tidings.DomainEvent", typ)
	}
	var offsets []uintptr
	if err := embeddedHeaders(typ, typ, 0, &offsets); err != nil {
		return 0, err
	}
	switch len(offsets) {
	case 0:
		return 0, fmt.Errorf("tidings: %s does not embed tidings.DomainEvent by value: add it as an embedded field", typ)
	case 1:
		return offsets[0], nil
	}
	return 0, fmt.Errorf("tidings: %s embeds %d headers: an event has one tidings.DomainEvent; make the others named fields", typ, len(offsets))
}

func embeddedHeaders(event, typ reflect.Type, base uintptr, offsets *[]uintptr) error {
	for i := range typ.NumField() {
		f := typ.Field(i)
		switch {
		case !f.Anonymous:
		case f.Type == domainEventType:
			*offsets = append(*offsets, base+f.Offset)
		case f.Type.Kind() == reflect.Struct:
			if err := embeddedHeaders(event, f.Type, base+f.Offset, offsets); err != nil {
				return err
			}
		case f.Type.Implements(eventInterface): // a pointer, or an interface
			return fmt.Errorf("tidings: %s embeds %s, which handlers would share: embed tidings.DomainEvent by value", event, f.Type)
		}
	}
	return nil
}

func (t *eventType) mustBeEvent() *eventType {
	if t.err != nil {
		panic(t.err.Error())
	}
	return t
}

// withHeader returns a copy of event whose header is h.
func (t *eventType) withHeader(event Event, h DomainEvent) Event {
	v := reflect.New(t.typ)
	v.Elem().Set(reflect.ValueOf(event))
	*(*DomainEvent)(unsafe.Add(v.UnsafePointer(), t.header)) = h
	return v.Elem().Interface().(Event)
}

// stampBoxed returns event, stamped unless it is.
func (t *eventType) stampBoxed(n *node, clock func() time.Time, event Event) Event {
	if event.domainEvent().id != uuid.Nil {
		return event
	}
	var head DomainEvent
	head.stamp(n, clock)
	return t.withHeader(event, head)
}

// cloneBoxed calls event's own Clone. The header is kept even if Clone
// builds its result from scratch.
func (t *eventType) cloneBoxed(event Event) Event {
	clone := reflect.ValueOf(event).Method(t.clone).Call(nil)[0].Interface().(Event)
	return t.withHeader(clone, event.domainEvent())
}

// copyBoxed returns a copy of event that shares no memory with it.
func (t *eventType) copyBoxed(event Event) Event {
	if t.clone >= 0 {
		return t.cloneBoxed(event)
	}
	return event
}

// nameOf returns the name of event's type, for messages.
func nameOf(event Event) string {
	if event == nil {
		return "a nil event"
	}
	return describe(reflect.TypeOf(event)).name
}
