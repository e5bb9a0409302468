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

// ErrUnregistered is wrapped by errors about an event whose type has no registered
// name, and about a stored name or version that this program does not know or cannot
// convert to the current version.
var ErrUnregistered = errors.New("not registered")

// A Registry gives event types names and versions that are independent of the code. A
// type that is renamed or moved keeps its registered name, and data of an older
// version is converted to the current version when it is read. The zero Registry is
// ready to use.
//
// [Register], [Upcast] and the methods are safe to call concurrently and inside a
// handler.
type Registry struct {
	// Source says where the events come from. It is a URI reference, such as
	// "https://shop.example" or "/shop"; together with the ID it makes an event
	// unique among all CloudEvents. Set it before use. The default is "tidings".
	Source string

	mu      sync.RWMutex
	byName  map[string]*registration
	byEvent map[reflect.Type]*registration
}

// A registration holds what a Registry knows about one name. The Registry's mu guards
// it.
type registration struct {
	name    string
	version int             // the newest, which the registered type has
	event   *eventType      // nil if only upcasts were added so far
	upcasts map[int]*upcast // by the version that they read

	// shape is computed when the first event is written, or by Validate, since it
	// calls user code such as MarshalJSON. Its error says why no event of the type
	// can be written.
	shape func() (*eventShape, error)
}

// An upcast converts data of one version to the next version.
type upcast struct {
	from *eventType // need not be an event type
	to   reflect.Type
	call func(v any) (any, error)
}

var validName = regexp.MustCompile(`^[A-Za-z0-9]+([._/:-][A-Za-z0-9_]+|_+[A-Za-z0-9]+)*$`)

// Register sets the name under which events of type E are stored and sent, and the
// version of their shape, which is at least 1. The name must never change, even if
// the Go type is renamed or moved: "crm.proposal_accepted". Raise the version
// whenever the JSON of E changes so that older data would be misread, and add an
// [Upcast] from the version before.
//
// Register panics if the name is not made of letters, digits and separators, if the
// version is out of range, and if E or the name is registered already. It accepts a
// type whose events would not be read back unchanged, see [Registry.Validate]: such
// events can be decoded but not encoded.
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

// Upcast adds fn, which converts data of version from to data of version from+1, when
// a stored event of that version is read. The data is unmarshalled from JSON into
// From, a struct with the shape of that version, or a map[string]any. Numbers in an
// interface become a [json.Number], since a float64 cannot hold every integer. The To
// of the last Upcast is the registered event type; the To of each other one is the
// From of the next.
//
// fn does not need to copy the header: the resulting event gets it, and a From that
// is an event type has it already. If fn panics, Decode returns an error.
//
// Upcasts may be added in any order, even before Register. Upcast panics if there is
// already an Upcast from that version. [Registry.Validate] finds gaps, and types that
// do not fit together.
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

// Validate checks the registered types and upcasts. Call it in a test, or when the
// program starts. It returns one error for everything that it finds, joined with
// [errors.Join]: upcasts of a name without a type, a version whose upcasts do not lead
// to the registered version, and a type whose events [Registry.Encode] refuses because
// they would not be read back unchanged. Validate cannot know about stored versions
// that have no Upcast; reading them fails.
//
// Validate calls methods such as MarshalJSON of the registered types and their
// fields, with made-up values. If a method returns an error for such a value,
// Validate ignores that.
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

// A validation holds what is wrong with the upcasts of one name.
type validation struct {
	errs []error
	reg  *registration // nil if no type is registered
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

// NameOf returns the name under which the type of event is registered, and whether
// there is one.
func (r *Registry) NameOf(event Event) (name string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if reg := r.byEvent[reflect.TypeOf(event)]; reg != nil {
		return reg.name, true
	}
	return "", false
}

// TypeOf returns the type that is registered under name, and whether there is one.
func (r *Registry) TypeOf(name string) (eventType reflect.Type, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if reg := r.byName[name]; reg != nil && reg.event != nil {
		return reg.event.typ, true
	}
	return nil, false
}

// Decodable returns nil if the program can read data of that name and version, and
// otherwise the error that [Registry.Unwrap] would return.
func (r *Registry) Decodable(name string, version int) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, _, err := r.resolveLocked(name, version)
	return err
}

// resolveLocked returns the registration of name and the upcasts that lead from
// version to the newest version.
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
