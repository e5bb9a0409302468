package tidings

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
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
	version int             // the newest, which the registered type has
	event   *eventType      // nil as long as there are only upcasts
	upcasts map[int]*upcast // by the version that they take

	// shape is found when the first event is written, or by Validate: it calls
	// methods of users. The error says why no event can be written.
	shape func() (*eventShape, error)
}

// An upcast brings data from one version to the next.
type upcast struct {
	from *eventType // which need not be an event
	to   reflect.Type
	call func(v any) (any, error)
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
	r.register(reflect.TypeFor[E](), name, version)
}

func (r *Registry) register(typ reflect.Type, name string, version int) {
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
	reg.event, reg.version = event, version
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
	r.addUpcast(name, from, &upcast{
		from: describe(reflect.TypeFor[From]()), to: reflect.TypeFor[To](),
		call: func(v any) (any, error) { return fn(v.(From)) },
	})
}

func (r *Registry) addUpcast(name string, from int, u *upcast) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reg := r.registrationLocked(name)
	if reg.upcasts[from] != nil {
		panic(fmt.Sprintf("tidings: Upcast: there is one of %q from version %d already", name, from))
	}
	reg.upcasts[from] = u
}

func mustBeVersion(verb, name string, version int) {
	if !validName.MatchString(name) {
		panic(fmt.Sprintf("tidings: %s: %q is not a valid event name: use letters, digits and separators, such as \"crm.proposal_accepted\"", verb, name))
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

// Validate returns an error, joined of all there are, if some version that
// has an [Upcast] does not reach the registered one, and for types whose
// events [Registry.Encode] refuses, since they would not be read back as they
// were: for a test, or the start of a program. It cannot know of versions that
// were stored and have no Upcast; those fail when they are read.
//
// Methods such as MarshalJSON of the registered types and their fields are
// called, with values that are made up. That they refuse these is not an error.
func (r *Registry) Validate() error {
	var errs []error
	for _, found := range r.validate() {
		errs = append(errs, found.errs...)
		if reg := found.reg; reg != nil {
			if _, err := reg.shape(); err != nil {
				errs = append(errs, fmt.Errorf("tidings: %s, which is registered as %q, would not be read back as it was: %w", reg.event.name, reg.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// A validation is what is wrong with the upcasts of one name.
type validation struct {
	errs []error
	reg  *registration // nil without a type
}

func (r *Registry) validate() (all []validation) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(r.byName)) {
		reg := r.byName[name]
		if reg.event == nil {
			all = append(all, validation{errs: []error{fmt.Errorf("tidings: there are Upcasts of %q, but it is %w", name, ErrUnregistered)}})
			continue
		}
		v := validation{reg: reg}
		for _, from := range slices.Sorted(maps.Keys(reg.upcasts)) {
			if from >= reg.version {
				v.errs = append(v.errs, fmt.Errorf("tidings: there is an Upcast of %q from version %d, but the registered version is %d", name, from, reg.version))
			} else if _, _, err := r.resolveLocked(name, from); err != nil {
				v.errs = append(v.errs, err)
			}
		}
		all = append(all, v)
	}
	return all
}

// A RegistrationInfo describes a registered type, see [Registry.Registrations].
type RegistrationInfo struct {
	Name      string
	Version   int // the newest
	EventType reflect.Type
	Upcasts   []int // the older versions that have an Upcast, ascending
}

// Registrations returns the registered types, sorted by name.
func (r *Registry) Registrations() []RegistrationInfo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var infos []RegistrationInfo
	for _, reg := range r.byEvent {
		infos = append(infos, RegistrationInfo{
			Name: reg.name, Version: reg.version, EventType: reg.event.typ, Upcasts: slices.Sorted(maps.Keys(reg.upcasts)),
		})
	}
	slices.SortFunc(infos, func(a, b RegistrationInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos
}

// NameOf returns the name that event's type is registered under.
func (r *Registry) NameOf(event Event) (name string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if reg := r.byEvent[reflect.TypeOf(event)]; reg != nil {
		return reg.name, true
	}
	return "", false
}

// TypeOf returns the type that is registered under name.
func (r *Registry) TypeOf(name string) (eventType reflect.Type, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if reg := r.byName[name]; reg != nil && reg.event != nil {
		return reg.event.typ, true
	}
	return nil, false
}

// Decodable returns nil if data of that name and version can be read, and
// otherwise what [Registry.Unwrap] would say.
func (r *Registry) Decodable(name string, version int) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, _, err := r.resolveLocked(name, version)
	return err
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
			next = steps[i+1].from.typ
		}
		if step.to != next {
			v := version + i
			return nil, nil, fmt.Errorf("tidings: version %d of %q is %w: the Upcast from version %d makes a %s, but version %d is a %s", version, name, ErrUnregistered, v, step.to, v+1, next)
		}
	}
	return reg, steps, nil
}
