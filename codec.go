package tidings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"sync"

	"github.com/google/uuid"
)

// ErrUnregistered is wrapped by the errors for an event whose type has no
// registered name, and for a stored name or version that this program does
// not know or cannot bring up to date.
var ErrUnregistered = errors.New("not registered")

// A Registry gives the types of events names and versions that last longer
// than the code: a type that is renamed or moved keeps its registered name,
// and data of an older version is brought up to date when it is read. The
// zero Registry is ready to use.
//
// [Register], [Upcast] and the methods are safe to call concurrently and
// inside a handler.
type Registry struct {
	// Source says where the events come from: a URI reference, such as
	// "https://shop.example" or "/shop", that with the ID makes an event
	// unique among all CloudEvents. Set it before use. Empty: "tidings".
	Source string

	mu      sync.RWMutex
	byName  map[string]*registration
	byEvent map[reflect.Type]*registration
}

// A registration is what a Registry knows of one name. It is guarded by the
// Registry's mu.
type registration struct {
	name    string
	version int        // the newest, that of the registered type
	event   *eventType // nil as long as there are only upcasts
	encode  func(Event) ([]byte, error)
	decode  func(data []byte, header DomainEvent) (any, error)
	upcasts map[int]*upcast // by the version that they take

	// shape is found when the first event is written, or by Validate: it calls
	// methods of users. The error says why no event can be written.
	shape func() (*eventShape, error)
}

// An upcast brings data from one version to the next.
type upcast struct {
	from, to reflect.Type
	decode   func(data []byte, header DomainEvent) (any, error)
	call     func(v any, header DomainEvent) (any, error)
}

var validName = regexp.MustCompile(`^[A-Za-z0-9]+([._/:-][A-Za-z0-9_]+|_+[A-Za-z0-9]+)*$`)

// Register gives the event type E the name under which its events are
// stored and sent, and the version of their shape, at least 1. A name is
// for good: "crm.proposal_accepted", whatever becomes of the Go type. Raise
// the version whenever the JSON of E changes so that older data would be
// misread, and add an [Upcast] from the one before. Events of a type that could
// not be read back as it was written can be decoded but not encoded, see
// [Registry.Validate].
//
// It panics if the name is not made of letters, digits and separators, if
// the version is out of range, and if E or the name is registered already.
func Register[E Event](r *Registry, name string, version int) {
	mustNotBeNil(r == nil, "Register", "*Registry")
	typ := reflect.TypeFor[E]()
	if typ.Kind() == reflect.Interface {
		panic(fmt.Sprintf("tidings: Register[%s]: an interface has no shape of its own: register the structs that implement it", typ))
	}
	event := describe(typ).mustBeEvent()
	mustBeVersion("Register", name, version)
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.byEvent[typ]; other != nil {
		panic(fmt.Sprintf("tidings: Register: %s is registered already, as %q version %d: a type has one name", typ, other.name, other.version))
	}
	reg := r.registrationLocked(name)
	if reg.event != nil {
		panic(fmt.Sprintf("tidings: Register: %q is taken by %s: a name stands for one type; older shapes of an event get an Upcast", name, reg.event.name))
	}
	reg.event, reg.version, reg.encode, reg.decode = event, version, encodeAs[E](reg), decodeAs[E](event, json.Unmarshal)
	reg.shape = sync.OnceValues(func() (*eventShape, error) { return shapeOf(event) })
	if r.byEvent == nil {
		r.byEvent = map[reflect.Type]*registration{}
	}
	r.byEvent[typ] = reg
}

// Upcast says how data of version from becomes data of version from+1: it is
// read as JSON into From, a struct as that version was, and fn makes a To of
// it. From may be a map[string]any too; numbers in an interface are a
// [json.Number], since a float64 does not hold every integer. The last To is
// the registered event type, each other one the From of the next Upcast. The
// header is not fn's business: the event has it in the end, and a From that is
// an event type has it already. A panic of fn is an error of Decode.
//
// Upcasts may be added in any order, also before Register. Upcast panics if
// there is one from that version already; [Registry.Validate] finds gaps, and
// types that do not fit.
func Upcast[From, To any](r *Registry, name string, from int, fn func(From) (To, error)) {
	mustNotBeNil(r == nil, "Upcast", "*Registry")
	mustNotBeNil(fn == nil, "Upcast", "function")
	mustBeVersion("Upcast", name, from)
	event := describe(reflect.TypeFor[From]())
	r.mu.Lock()
	defer r.mu.Unlock()
	reg := r.registrationLocked(name)
	if reg.upcasts[from] != nil {
		panic(fmt.Sprintf("tidings: Upcast: there is one of %q from version %d already", name, from))
	}
	reg.upcasts[from] = &upcast{
		from: reflect.TypeFor[From](), to: reflect.TypeFor[To](),
		decode: decodeAs[From](event, unmarshalOld),
		call: func(v any, header DomainEvent) (any, error) {
			old := v.(From)
			if event.err == nil {
				*headerAt(&old, event.header) = header
			}
			return fn(old)
		},
	}
}

func mustBeVersion(verb, name string, version int) {
	if !validName.MatchString(name) {
		panic(fmt.Sprintf("tidings: %s: %q is no name for events: use letters, digits and separators, such as \"crm.proposal_accepted\"", verb, name))
	}
	if version < 1 {
		panic(fmt.Sprintf("tidings: %s: %q version %d: versions begin at 1", verb, name, version))
	}
	if version > maxVersion {
		panic(fmt.Sprintf("tidings: %s: %q version %d: a CloudEvents integer ends at %d; count up by one", verb, name, version, maxVersion))
	}
}

func (r *Registry) registrationLocked(name string) *registration {
	reg := r.byName[name]
	if reg == nil {
		reg = &registration{name: name, upcasts: map[int]*upcast{}}
		if r.byName == nil {
			r.byName = map[string]*registration{}
		}
		r.byName[name] = reg
	}
	return reg
}

// encodeAs returns the function that writes the JSON of an E. Behind a
// pointer, methods MarshalJSON of pointers are called as well, as
// UnmarshalJSON will be: without it, a big.Int is written as {}.
func encodeAs[E Event](reg *registration) func(Event) ([]byte, error) {
	return func(event Event) ([]byte, error) {
		shape, err := reg.shape()
		if err != nil {
			return nil, err
		}
		e := event.(E)
		data, err := json.Marshal(&e)
		if err == nil {
			err = shape.verify(reflect.ValueOf(&e), data)
		}
		return data, err
	}
}

// decodeAs returns the function that unmarshals data into a T, which gets the
// header if event says that it has one.
func decodeAs[T any](event *eventType, unmarshal func([]byte, any) error) func([]byte, DomainEvent) (any, error) {
	return func(data []byte, header DomainEvent) (any, error) {
		var v T
		if err := unmarshal(data, &v); err != nil {
			return nil, err
		}
		if event.err == nil {
			*headerAt(&v, event.header) = header
		}
		return v, nil
	}
}

// unmarshalOld is json.Unmarshal, but a number that goes into an interface is
// a json.Number: in the old type it may have been an integer that no float64
// holds.
func unmarshalOld(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("its data is more than one JSON value")
	}
	return nil
}

// Encode returns event as a CloudEvent, see [Envelope]. The error wraps
// [ErrUnregistered] if its type is not registered; it says so if the event
// is not stamped, cannot be marshalled, or would not be read back as it was:
// its type is one that [Registry.Validate] refuses, a string is not UTF-8, an
// interface holds what JSON has no type for.
func (r *Registry) Encode(event Event) ([]byte, error) {
	e, err := r.Wrap(event)
	if err != nil {
		return nil, err
	}
	return e.text(), nil
}

// Decode returns the event in a CloudEvent, with its header as it was:
// [Registry.Unwrap] of the [Envelope]. Events whose names or versions are
// unknown to the program can still be read into an Envelope.
func (r *Registry) Decode(data []byte) (Event, error) {
	e, err := parseEnvelope(data)
	if err != nil {
		return nil, err
	}
	return r.Unwrap(e)
}

// Wrap returns event in its envelope. Its errors are those of
// [Registry.Encode].
func (r *Registry) Wrap(event Event) (Envelope, error) {
	if event == nil {
		return Envelope{}, errors.New("tidings: encoding a nil event")
	}
	typ := reflect.TypeOf(event)
	r.mu.RLock()
	reg := r.byEvent[typ]
	r.mu.RUnlock()
	if reg == nil {
		if err := describe(typ).err; err != nil {
			return Envelope{}, err
		}
		return Envelope{}, fmt.Errorf("tidings: %s is %w: an event that is stored or sent needs a lasting name: tidings.Register[%[1]s](registry, \"…\", 1)", typ, ErrUnregistered)
	}
	head := event.domainEvent()
	if head.id == uuid.Nil {
		return Envelope{}, fmt.Errorf("tidings: encoding %s: the event has no header: publish it, or use Stamp", typ)
	}
	var data []byte
	err := protect(func() (err error) {
		data, err = reg.encode(event)
		return err
	})
	e := Envelope{
		ID: head.id, Source: r.Source, Type: reg.name, Version: reg.version, OccurredAt: head.OccurredAt(),
		CorrelationID: head.correlation, CausationID: head.causation, Data: data,
	}
	if e.Source == "" {
		e.Source = "tidings"
	}
	if e.CorrelationID == uuid.Nil {
		e.CorrelationID = e.ID
	}
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return Envelope{}, fmt.Errorf("tidings: encoding %s: %w", typ, err)
	}
	return e, nil
}

// Unwrap returns the event in e, brought up to the registered version, with
// its header as it was. The data is read as everywhere in encoding/json:
// fields that the type does not have are ignored, fields that the data does
// not have are zero, and names match in upper and lower case. Where that
// would be wrong, raise the version.
//
// The error wraps [ErrUnregistered] for an unknown name or version, and
// where an [Upcast] is missing on the way.
func (r *Registry) Unwrap(e Envelope) (Event, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("tidings: decoding %q: %w", e.Type, err)
	}
	r.mu.RLock()
	reg, steps, err := r.resolveLocked(e.Type, e.Version)
	r.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	header := DomainEvent{id: e.ID, correlation: e.CorrelationID, causation: e.CausationID, occurred: e.OccurredAt.UnixMicro()}
	event, err := reg.unwrap(e, steps, header)
	if err != nil {
		return nil, fmt.Errorf("tidings: decoding %q version %d, event %s: %w", e.Type, e.Version, e.ID, err)
	}
	return event, nil
}

// unwrap reads the data of e and takes the steps to the newest version.
func (reg *registration) unwrap(e Envelope, steps []*upcast, header DomainEvent) (Event, error) {
	decode := reg.decode
	if len(steps) > 0 {
		decode = steps[0].decode
	}
	var v any
	err := protect(func() (err error) {
		v, err = decode(e.Data, header)
		return err
	})
	for i, s := range steps {
		if err != nil {
			return nil, err
		}
		err = protect(func() (err error) {
			v, err = s.call(v, header)
			return err
		})
		if err != nil {
			err = fmt.Errorf("upcast from version %d: %w", e.Version+i, err)
		}
	}
	if err != nil {
		return nil, err
	}
	event := v.(Event)
	if len(steps) > 0 {
		event = reg.event.withHeader(event, header)
		if err := protect(func() error { return reg.checkUpcast(event) }); err != nil {
			return nil, fmt.Errorf("upcast to version %d: %w", reg.version, err)
		}
	}
	return event, nil
}

// checkUpcast returns an error if event, which an Upcast has made, holds what a
// decoded event cannot hold, such as a json.Number in place of a float64.
func (reg *registration) checkUpcast(event Event) error {
	shape, err := reg.shape()
	if err != nil {
		return nil // it cannot be written, but this is reading
	}
	v := reflect.New(reg.event.typ).Elem()
	v.Set(reflect.ValueOf(event))
	if lost := shape.root.check(v, false); lost != nil {
		return lost
	}
	return nil
}

// resolveLocked returns the registration of name and the upcasts that lead
// from version to the newest one.
func (r *Registry) resolveLocked(name string, version int) (*registration, []*upcast, error) {
	reg := r.byName[name]
	if reg == nil || reg.event == nil {
		return nil, nil, fmt.Errorf("tidings: event name %q is %w: tidings.Register a type for it", name, ErrUnregistered)
	}
	if version == reg.version {
		return reg, nil, nil
	}
	if version > reg.version {
		return nil, nil, fmt.Errorf("tidings: version %d of %q is %w: the newest known is %d, so it was written by a newer program", version, name, ErrUnregistered, reg.version)
	}
	var steps []*upcast
	for v := version; v < reg.version; v++ {
		step := reg.upcasts[v]
		if step == nil {
			return nil, nil, fmt.Errorf("tidings: version %d of %q is %w: there is no Upcast from version %d, on the way to %d", version, name, ErrUnregistered, v, reg.version)
		}
		steps = append(steps, step)
	}
	for i, step := range steps {
		next := reg.event.typ
		if i+1 < len(steps) {
			next = steps[i+1].from
		}
		if step.to != next {
			v := version + i
			return nil, nil, fmt.Errorf("tidings: version %d of %q is %w: the Upcast from version %d makes a %s, but version %d is a %s", version, name, ErrUnregistered, v, step.to, v+1, next)
		}
	}
	return reg, steps, nil
}

// Decodable returns nil if data of that name and version can be read, and
// otherwise what [Registry.Unwrap] would say.
func (r *Registry) Decodable(name string, version int) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, _, err := r.resolveLocked(name, version)
	return err
}
