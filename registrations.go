package tidings

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

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
