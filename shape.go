package tidings

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// A shape describes how encoding/json writes a type: the parts of a value that must
// be checked when it is written, because JSON cannot hold all of their values. It is
// nil if there is nothing to check.
type shape struct {
	form   form
	typ    reflect.Type
	key    *shape // the keys of a map
	elem   *shape // the elements of a pointer, slice, array, List or map
	fields []shapeField
}

type form int

const (
	aText      form = iota + 1 // a string
	aTime                      // a time.Time
	anything                   // an interface without methods
	aPointer                   // to elem
	aSequence                  // a slice or array of elem
	aList                      // a List of elem
	aMap                       // from key to elem
	aStruct                    // with fields
	marshalled                 // a type that writes its own JSON or text
)

// A shapeField is a field that encoding/json writes.
type shapeField struct {
	name  string // the name in Go
	index []int  // through the structs in which it is embedded
	shape *shape
	zero  bool // encoding/json omits it if its own method IsZero returns true
}

var (
	timeType          = reflect.TypeFor[time.Time]()
	rawMessageType    = reflect.TypeFor[json.RawMessage]()
	jsonMarshaler     = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler   = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler     = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler   = reflect.TypeFor[encoding.TextUnmarshaler]()
	writers           = []reflect.Type{jsonMarshaler, textMarshaler}
	readers           = []reflect.Type{jsonUnmarshaler, textUnmarshaler}
	marshalInterfaces = []reflect.Type{jsonMarshaler, textMarshaler, jsonUnmarshaler, textUnmarshaler}
)

// A shaper computes the shape of a type, and finds parts of the type that could never
// be read back.
type shaper struct {
	event *eventType
	known map[shapeKey]*shape // includes unfinished ones, which ends the recursion

	custom, unproven bool // as in an eventShape
}

// addressable is false for values in a map. encoding/json does not call methods with
// pointer receivers on them.
type shapeKey struct {
	typ         reflect.Type
	addressable bool
}

// An eventShape is the shape of an event type.
type eventShape struct {
	root   *shape
	custom bool // some part writes its own JSON or text

	// unproven says that no made-up value could be tried for some part that has its
	// own methods. Then the first event that is written is read back.
	unproven atomic.Bool
}

// shapeOf returns the shape of an event type, or an error for the first part of it
// that would be lost.
func shapeOf(event *eventType) (*eventShape, error) {
	s := &shaper{event: event, known: map[shapeKey]*shape{}}
	root, err := s.of(event.typ, "", true)
	if err != nil {
		return nil, err
	}
	found := &eventShape{root: root, custom: s.custom}
	found.unproven.Store(s.unproven)
	return found, nil
}

// verify returns an error if data, the JSON of *event, does not hold all of the
// event.
func (s *eventShape) verify(event reflect.Value, data []byte) error {
	suspect := s.custom && (mayBeReplaced(data) || !utf8.Valid(data))
	if lost := s.root.check(event.Elem(), suspect); lost != nil {
		return lost
	}
	if s.unproven.Load() {
		if err := readBack(event, data); err != nil {
			return err
		}
		s.unproven.Store(false)
	}
	return nil
}

// at says where in the event a type was found, for messages.
func at(path string, typ reflect.Type) string {
	if path == "" {
		return "it"
	}
	return fmt.Sprintf("its field %s of type %s", path, typ)
}

func (s *shaper) of(typ reflect.Type, path string, addressable bool) (*shape, error) {
	key := shapeKey{typ, addressable}
	if known, ok := s.known[key]; ok {
		return known, nil
	}
	switch {
	case typ == timeType:
		return &shape{form: aTime}, nil
	case typ == rawMessageType:
		s.custom = true
		return &shape{form: marshalled, typ: typ}, nil
	}
	found := &shape{typ: typ}
	s.known[key] = found
	needed, err := s.find(found, path, addressable)
	if err != nil {
		return nil, err
	}
	if !needed {
		s.known[key] = nil
		return nil, nil
	}
	return found, nil
}

// find completes the shape of found.typ, and reports whether its values must be
// checked.
func (s *shaper) find(found *shape, path string, addressable bool) (needed bool, err error) {
	typ := found.typ
	if elem := listElement(typ); elem != nil {
		found.form = aList
		found.elem, err = s.of(elem, path+"[]", true)
		return found.elem != nil, err
	}
	if k := typ.Kind(); k != reflect.Pointer && k != reflect.Interface && hasAny(reflect.PointerTo(typ), marshalInterfaces) {
		s.custom = true
		written, err := s.findCustom(found, path, addressable)
		if written || err != nil {
			return written, err
		}
	}
	return s.findByKind(found, path, addressable)
}

func hasAny(typ reflect.Type, interfaces []reflect.Type) bool {
	for _, i := range interfaces {
		if typ.Implements(i) {
			return true
		}
	}
	return false
}

// findByKind completes the shape of a type that encoding/json writes by its kind.
func (s *shaper) findByKind(found *shape, path string, addressable bool) (needed bool, err error) {
	switch typ := found.typ; typ.Kind() {
	case reflect.String:
		found.form = aText
		return true, nil
	case reflect.Interface:
		if typ.NumMethod() > 0 {
			return false, fmt.Errorf("%s is an interface with methods, which encoding/json cannot decode: use the types that implement it, or tag it `json:\"-\"`", at(path, typ))
		}
		found.form = anything
		return true, nil
	case reflect.Pointer:
		found.form = aPointer
		found.elem, err = s.of(typ.Elem(), path, true)
		return found.elem != nil || canBeNil(typ.Elem().Kind()), err
	case reflect.Slice:
		if e := typ.Elem(); e.Kind() == reflect.Uint8 && !hasAny(reflect.PointerTo(e), writers) {
			return false, nil // base64
		}
		found.form = aSequence
		found.elem, err = s.of(typ.Elem(), path+"[]", true)
		return found.elem != nil, err
	case reflect.Array:
		found.form = aSequence
		found.elem, err = s.of(typ.Elem(), path+"[]", addressable)
		return found.elem != nil, err
	case reflect.Map:
		found.form = aMap
		if found.key, err = s.ofKey(typ.Key(), path); err != nil {
			return false, err
		}
		found.elem, err = s.of(typ.Elem(), path+"[]", false)
		return found.key != nil || found.elem != nil, err
	case reflect.Struct:
		found.form = aStruct
		found.fields, err = s.fields(typ, path, addressable)
		return len(found.fields) > 0, err
	case reflect.Complex64, reflect.Complex128, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false, fmt.Errorf("%s cannot be written by encoding/json: tag it `json:\"-\"`", at(path, typ))
	}
	return false, nil
}

func canBeNil(k reflect.Kind) bool {
	return k == reflect.Pointer || k == reflect.Slice || k == reflect.Map || k == reflect.Interface
}

// ofKey returns the shape of the keys of a map. Keys are not addressable.
func (s *shaper) ofKey(typ reflect.Type, path string) (*shape, error) {
	path += " (key)"
	writes, reads := typ.Implements(textMarshaler), reflect.PointerTo(typ).Implements(textUnmarshaler)
	switch k := typ.Kind(); {
	case k == reflect.String && !writes && !reads:
		return &shape{form: aText, typ: typ}, nil
	case k >= reflect.Int && k <= reflect.Uintptr && !writes && !reads:
		return nil, nil
	case k == reflect.String && !writes, k == reflect.String && !reads:
		// Strings are written unchanged. They are read unchanged too, unless there
		// is an UnmarshalText, which then must accept every string.
		return &shape{form: aText, typ: typ}, nil
	case !writes || !reads:
		return nil, fmt.Errorf("%s is the key of a map and not both written and read: give %[2]s the methods MarshalText and UnmarshalText, the first of them with a value receiver", at(path, typ), typ)
	}
	return s.of(typ, path, false)
}
