package tidings

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"
	"unsafe"
)

// findCustom completes the shape of a type that writes or reads its own JSON or text.
// Its methods can do anything, so findCustom tries them with made-up values. A type
// may refuse these values; that is not an error.
//
// findCustom returns false for a type that encoding/json writes after all.
func (s *shaper) findCustom(found *shape, path string, addressable bool) (written bool, err error) {
	typ, pointer := found.typ, reflect.PointerTo(found.typ)
	for _, w := range writers {
		if !addressable && pointer.Implements(w) && !typ.Implements(w) && !typ.Implements(jsonMarshaler) {
			return false, fmt.Errorf("%s is in a map, where encoding/json does not call the methods of *%[2]s that write it: use *%[2]s", at(path, typ), typ)
		}
	}
	if typ.Kind() == reflect.Struct {
		inner, err := s.findPromoted(typ, path)
		if err != nil {
			return false, err
		}
		if inner != nil {
			f := shapeField{name: inner.Name, index: inner.Index}
			if f.shape, err = s.of(inner.Type, join(path, inner.Name), addressable); f.shape != nil {
				found.form, found.fields = aStruct, []shapeField{f}
			}
			return f.shape != nil, err
		}
	}
	writes, reads := hasAny(pointer, writers), hasAny(pointer, readers)
	if writes && !reads {
		err = s.tryWriter(typ, path, addressable)
	} else {
		err = s.try(typ, path)
	}
	found.form = marshalled
	return writes, err
}

// findPromoted looks for an embedded field of typ, a struct, whose methods were
// promoted and replace those of typ. It returns the field if typ has no other fields.
// Reflection does not tell where a method comes from, so findPromoted tries it: the
// methods are promoted if the other fields do not change what they write, or get
// nothing when they read.
func (s *shaper) findPromoted(typ reflect.Type, path string) (all *reflect.StructField, err error) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.Anonymous || f.Type.Kind() == reflect.Interface || !sharesMethods(typ, f.Type) {
			continue
		}
		others := s.othersThan(typ, i)
		decided := false
		for _, made := range madeUp(f.Type) {
			bare := reflect.New(typ)
			reachable(bare.Elem().Field(i)).Set(made.Elem())
			full := reflect.New(typ)
			full.Elem().Set(bare.Elem())
			for n, o := range others {
				fill(reachable(full.Elem().Field(o)), 20*(n+1), 0)
			}
			alone, err1 := write(made)
			without, err2 := write(bare)
			with, err3 := write(full)
			if err1 != nil || err2 != nil || err3 != nil {
				continue
			}
			decided = true
			same := string(alone) == string(without) && string(without) == string(with)
			if same && len(others) == 0 {
				return &f, nil
			}
			if anyOf(full.Elem(), others) && (same || s.readsNone(typ, with, others)) {
				return nil, fmt.Errorf("%s has the methods of %s, which it embeds and which write or read that field alone: give the field a name, or %s methods of its own",
					at(path, typ), f.Type, typ)
			}
		}
		if !decided {
			s.unproven = true
		}
	}
	return nil, nil
}

// sharesMethods reports whether a struct may have JSON or text methods that an
// embedded field promotes.
func sharesMethods(typ, field reflect.Type) bool {
	if field.Kind() != reflect.Pointer {
		field = reflect.PointerTo(field)
	}
	for _, i := range marshalInterfaces {
		if reflect.PointerTo(typ).Implements(i) && field.Implements(i) {
			return true
		}
	}
	return false
}

// othersThan returns the fields of typ, except field i, that JSON should hold.
func (s *shaper) othersThan(typ reflect.Type, i int) (others []int) {
	for o := range typ.NumField() {
		f := typ.Field(o)
		header := f.Anonymous && f.Type == domainEventType && typ == s.event.typ
		if o != i && !header && f.Name != "_" && f.Type.Size() > 0 && f.Tag.Get("json") != "-" {
			others = append(others, o)
		}
	}
	return others
}

// readsNone reports whether data can be read, and sets none of these fields.
func (s *shaper) readsNone(typ reflect.Type, data []byte, fields []int) bool {
	back, err := read(typ, data)
	return err == nil && !anyOf(back.Elem(), fields)
}

// anyOf reports whether one of these fields of v is not zero.
func anyOf(v reflect.Value, fields []int) bool {
	for _, i := range fields {
		if !v.Field(i).IsZero() {
			return true
		}
	}
	return false
}

// try writes and reads values of a type that has methods for both, or only reads its
// own. The first round may normalize a value; after that the value must stay
// unchanged.
func (s *shaper) try(typ reflect.Type, path string) error {
	tried := false
	for _, v := range madeUp(typ) {
		text, err := write(v)
		if err != nil {
			continue
		}
		back, err := read(typ, text)
		if err != nil {
			continue
		}
		tried = true
		if err := stays(back); err != nil {
			return fmt.Errorf("%s: %w", at(path, typ), err)
		}
	}
	if !tried {
		s.unproven = true
	}
	return nil
}

// stays returns an error if *v, a value that was read, changes when it is written and
// read again.
func stays(v reflect.Value) error {
	text, err := write(v)
	if err != nil {
		return nil // the type reports this itself when it is written
	}
	again, err := read(v.Type().Elem(), text)
	if err != nil {
		return fmt.Errorf("it writes %s, which it does not read: %w", text, err)
	}
	if reflect.DeepEqual(v.Interface(), again.Interface()) {
		return nil
	}
	if same, err := write(again); err == nil && string(same) != string(text) {
		return fmt.Errorf("it writes %s, and %s when that was read: its methods have to be each other's inverse", text, same)
	}
	return nil
}

// tryWriter tries a type that writes its own JSON or text, but that encoding/json
// reads.
func (s *shaper) tryWriter(typ reflect.Type, path string, addressable bool) error {
	pointer := reflect.PointerTo(typ)
	method, text := "that writes its JSON and none", false
	switch {
	case pointer.Implements(jsonMarshaler):
		method = "MarshalJSON and no UnmarshalJSON"
	case pointer.Implements(textMarshaler):
		method, text = "MarshalText and no UnmarshalText", true
	}
	refused := fmt.Errorf("%s has a method %s that reads what is written: add it", at(path, typ), method)
	if text && typ.Kind() != reflect.String {
		return refused
	}
	if _, err := s.findByKind(&shape{typ: typ}, path, addressable); err != nil {
		return refused
	}
	tried := false
	for _, v := range madeUp(typ) {
		text, err := write(v)
		if err != nil || v.Elem().IsZero() && tried {
			continue
		}
		tried = true
		back, err := read(typ, text)
		if err != nil || !v.Elem().IsZero() && !reflect.DeepEqual(v.Interface(), back.Interface()) {
			return refused
		}
	}
	if !tried {
		s.unproven = true
	}
	return nil
}

// readBack returns an error if an event cannot be read from data, its JSON, or
// changes when it is read. It is for types for which no made-up value could be tried.
func readBack(event reflect.Value, data []byte) error {
	typ := event.Type().Elem()
	back, err := read(typ, data)
	if err != nil {
		return fmt.Errorf("it cannot be read back: %w", err)
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.IsExported() && f.Tag.Get("json") != "-" && f.Type != domainEventType && back.Elem().Field(i).IsZero() && keeps(event.Elem().Field(i)) {
			return fmt.Errorf("its field %s is lost when it is read back", f.Name)
		}
	}
	return stays(back)
}

// keeps reports whether v holds something that can be lost. An empty slice or map is
// as good as nil.
func keeps(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	}
	return !v.IsZero()
}

// write returns the JSON of *v. Panics of its methods become errors.
func write(v reflect.Value) (data []byte, err error) {
	err = protect(func() (err error) {
		data, err = json.Marshal(v.Interface())
		return err
	})
	return data, err
}

// read returns a pointer to a new typ that was unmarshalled from data.
func read(typ reflect.Type, data []byte) (v reflect.Value, err error) {
	v = reflect.New(typ)
	return v, protect(func() error { return json.Unmarshal(data, v.Interface()) })
}

// reachable returns v, a field of a value that this package made, so that it can be
// set even if it is not exported.
func reachable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
}

// madeUp returns pointers to made-up values of typ: two with different contents, and
// the zero value.
func madeUp(typ reflect.Type) []reflect.Value {
	one, other, zero := reflect.New(typ), reflect.New(typ), reflect.New(typ)
	fill(one.Elem(), 1, 0)
	fill(other.Elem(), 2, 0)
	return []reflect.Value{one, other, zero}
}

// fill sets the exported parts of v to a value that depends on n. It leaves
// unexported parts alone: setting them could bring a value into a state that its type
// does not allow.
func fill(v reflect.Value, n, depth int) {
	if depth > 4 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(uint64(n))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(n) + 0.5)
	case reflect.String:
		v.SetString(fmt.Sprint("a", n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n, depth+1)
	case reflect.Array:
		for i := range min(v.Len(), 16) {
			fill(v.Index(i), n+i, depth+1)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n, depth+1)
		fill(value, n, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(fmt.Sprint("a", n)))
		}
	case reflect.Struct:
		if v.Type() == timeType {
			v.Set(reflect.ValueOf(time.Date(2026, 3, n%28+1, 0, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n+i, depth+1)
		}
	}
}
