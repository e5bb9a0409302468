package tidings

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/tidings-go/tidings/internal/typemap"
)

// An eventType holds what reflection finds out about a type of events. It is computed
// once per type and is immutable.
type eventType struct {
	typ    reflect.Type
	name   string  // "crm.ProposalAccepted"
	header uintptr // offset of the embedded DomainEvent
	clone  int     // index of the method Clone() E, or -1
	err    error   // why no value of this type is an event
}

var (
	// eventTypes is replaced under eventTypesMu.
	eventTypes   atomic.Pointer[typemap.Map[eventType]]
	eventTypesMu sync.Mutex

	domainEventType = reflect.TypeFor[DomainEvent]()
	eventInterface  = reflect.TypeFor[Event]()
)

func init() { eventTypes.Store(typemap.New[eventType]()) }

func describe(typ reflect.Type) *eventType {
	if t := eventTypes.Load().Get(typ); t != nil {
		return t
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
	types := eventTypes.Load()
	if t := types.Get(typ); t != nil {
		return t
	}
	eventTypes.Store(types.With(typ, t))
	return t
}

// clonesByPointer reports whether the type has a method Clone with a pointer
// receiver. An event is a value, so it does not have that method.
func (t *eventType) clonesByPointer() bool {
	if _, ok := t.typ.MethodByName("Clone"); ok {
		return false
	}
	m, ok := reflect.PointerTo(t.typ).MethodByName("Clone")
	return ok && returnsOnly(m, t.typ)
}

// returnsOnly reports whether m has no parameters and returns one typ.
func returnsOnly(m reflect.Method, typ reflect.Type) bool {
	return m.Type.NumIn() == 1 && m.Type.NumOut() == 1 && m.Type.Out(0) == typ
}

// findHeader returns the offset of the DomainEvent that typ embeds by value, directly
// or through embedded structs. It returns an error unless there is exactly one.
func findHeader(typ reflect.Type) (uintptr, error) {
	switch {
	case typ.Kind() == reflect.Pointer:
		return 0, fmt.Errorf("tidings: %s is a pointer, which handlers would share: publish and subscribe to the struct %s itself", typ, typ.Elem())
	case typ.Kind() != reflect.Struct || typ == domainEventType:
		return 0, fmt.Errorf("tidings: %s is not an event type: declare a struct that embeds tidings.DomainEvent", typ)
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

// Code that does not know E refers to an event by a pointer to its header, which
// lies inside the event at an offset that describe has found. These functions
// convert between the two; nothing else relies on the offset.

// headerAt returns the header of the event at that address.
func (t *eventType) headerAt(event unsafe.Pointer) *DomainEvent {
	return (*DomainEvent)(unsafe.Add(event, t.header))
}

// eventAround returns the address of the event that contains header.
func (t *eventType) eventAround(header *DomainEvent) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(header), -int(t.header))
}

// headerIn returns the header of *event, whose type is t.
func headerIn[E any](event *E, t *eventType) *DomainEvent {
	return t.headerAt(unsafe.Pointer(event))
}

// eventIn returns the event that contains header, whose type is t.
func eventIn[E any](header *DomainEvent, t *eventType) *E { return (*E)(t.eventAround(header)) }

// unbox returns the header of a new copy of event.
func (t *eventType) unbox(event any) *DomainEvent {
	v := reflect.New(t.typ)
	v.Elem().Set(reflect.ValueOf(event))
	return t.headerAt(v.UnsafePointer())
}

// box returns a copy of the event with that header.
func (t *eventType) box(header *DomainEvent) Event {
	return reflect.NewAt(t.typ, t.eventAround(header)).Elem().Interface().(Event)
}

// withHeader returns a copy of v whose header is h, or v if it is not an event.
func (t *eventType) withHeader(v any, h DomainEvent) any {
	if t.err != nil {
		return v
	}
	head := t.unbox(v)
	*head = h
	return t.box(head)
}

// copyOf returns a copy of the event with that header. The copy shares no memory with
// the event: if the type has a method Clone, that makes the copy. copyOf restores the
// header, in case Clone builds its result from scratch.
func (t *eventType) copyOf(header *DomainEvent) Event {
	event := t.box(header)
	if t.clone < 0 {
		return event
	}
	clone := reflect.ValueOf(event).Method(t.clone).Call(nil)[0].Interface().(Event)
	return t.withHeader(clone, *header).(Event)
}

// nameOf returns the name of event's type, for messages.
func nameOf(event Event) string {
	if event == nil {
		return "a nil event"
	}
	return describe(reflect.TypeOf(event)).name
}
