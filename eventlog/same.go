package eventlog

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
)

// same reports whether two values of one type are equivalent, where a was
// written as JSON and b was read from it. It is [reflect.DeepEqual], except for
// differences in memory layout only:
//
//   - A slice or map without elements is the same as nil.
//   - Values whose type has its own JSON or text and a method Equal or Cmp, as
//     time.Time and big.Int have, are the same if that method says so and their
//     JSON is the same. A time must have the same offset, not the same zone.
//
// A type with only its own JSON is compared field by field like any other: its
// JSON may leave something out.
func same(a, b reflect.Value) bool {
	if !a.IsValid() || !b.IsValid() || a.Type() != b.Type() {
		return a.IsValid() == b.IsValid() && !a.IsValid()
	}
	if equalByMethod(a, b) {
		return true
	}
	switch a.Kind() {
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for key, value := range a.Seq2() {
			if other := b.MapIndex(key); !other.IsValid() || !same(value, other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem()) // json.Marshal has found no cycle
	case reflect.Func:
		return a.IsNil() && b.IsNil()
	}
	return a.Comparable() && b.Comparable() && a.Equal(b)
}

// equalByMethod reports whether the type of a and b has its own JSON or text
// and a comparison method, and both say that a and b are the same.
func equalByMethod(a, b reflect.Value) bool {
	switch {
	case !a.CanInterface(): // an unexported field, which JSON ignores
		return false
	case a.Kind() == reflect.Interface: // its content will be compared
		return false
	case a.Kind() != reflect.Pointer:
		a, b = addressed(a), addressed(b) // a pointer also has the methods of its value
	case a.IsNil() || b.IsNil():
		return false
	}
	if promotes(a.Type()) || !comparesEqual(a, b) {
		return false
	}
	switch a.Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler:
	default:
		return false
	}
	one, err := json.Marshal(a.Interface())
	if err != nil {
		return false
	}
	other, err := json.Marshal(b.Interface())
	return err == nil && bytes.Equal(one, other)
}

func addressed(v reflect.Value) reflect.Value {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p
}

// promotes reports whether a pointer's methods may come from an embedded field,
// and so ignore the other fields.
func promotes(pointer reflect.Type) bool {
	if pointer.Kind() != reflect.Pointer || pointer.Elem().Kind() != reflect.Struct {
		return false
	}
	for i := range pointer.Elem().NumField() {
		if pointer.Elem().Field(i).Anonymous {
			return true
		}
	}
	return false
}

// comparesEqual calls the method Equal or Cmp of a, with b.
func comparesEqual(a, b reflect.Value) bool {
	for _, name := range []string{"Equal", "Cmp"} {
		method := a.MethodByName(name)
		if !method.IsValid() || method.Type().IsVariadic() || method.Type().NumIn() != 1 || method.Type().NumOut() != 1 {
			continue
		}
		arg := b
		if method.Type().In(0) == b.Type().Elem() {
			arg = b.Elem()
		}
		if method.Type().In(0) != arg.Type() {
			continue
		}
		switch result := method.Call([]reflect.Value{arg})[0]; result.Kind() {
		case reflect.Bool:
			return result.Bool()
		case reflect.Int:
			return result.Int() == 0
		}
	}
	return false
}
