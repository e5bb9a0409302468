package tidings

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
	"unicode/utf8"
)

// A lostError says which part of a value JSON does not hold, and why.
type lostError struct {
	path, why string
}

func (e *lostError) Error() string {
	if e.path == "" {
		return "it " + e.why
	}
	return "its field " + e.path + " " + e.why
}

func lost(format string, args ...any) *lostError {
	return &lostError{why: fmt.Sprintf(format, args...)}
}

// in puts the name of a field in front of the path of e, which may be nil.
func (e *lostError) in(name string) *lostError {
	if e != nil {
		switch {
		case e.path == "" || e.path[0] == '[':
			e.path = name + e.path
		default:
			e.path = name + "." + e.path
		}
	}
	return e
}

// check returns an error if encoding/json has not written all of v, a value of s's
// type. check looks at the value, not at the JSON, since encoding/json replaces and
// truncates silently. suspect says that the JSON may contain replaced text: then
// check also looks into the parts that write themselves.
func (s *shape) check(v reflect.Value, suspect bool) *lostError {
	if s == nil {
		return nil
	}
	switch s.form {
	case aText:
		if !utf8.ValidString(v.String()) {
			return lost("is not UTF-8")
		}
	case aTime:
		return checkTime(v)
	case anything:
		return checkAny(v.Elem())
	case aPointer:
		return s.checkPointer(v, suspect)
	case aList:
		return s.elem.checkAll(elementsOf(v), suspect)
	case aSequence:
		return s.elem.checkAll(v, suspect)
	case aMap:
		return s.checkMap(v, suspect)
	case aStruct:
		return s.checkFields(v, suspect)
	case marshalled:
		if suspect && (!utf8.Valid(writtenBy(v)) || !validStrings(v, 0)) {
			return lost("is not UTF-8")
		}
	}
	return nil
}

func (s *shape) checkFields(v reflect.Value, suspect bool) *lostError {
	for i := range s.fields {
		f := &s.fields[i]
		fv, ok := fieldAt(v, f.index)
		if !ok {
			continue
		}
		if f.zero && leftOut(fv) {
			return lost("is left out since its IsZero says so, and is read back as zero: remove the tag option \"omitzero\"").in(f.name)
		}
		if err := f.shape.check(fv, suspect); err != nil {
			return err.in(f.name)
		}
	}
	return nil
}

// fieldAt is FieldByIndex, but returns false for ok if an embedded pointer is nil.
func fieldAt(v reflect.Value, index []int) (field reflect.Value, ok bool) {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	if !v.CanInterface() { // a field of an embedded type that is not exported
		if !v.CanAddr() {
			return v, false
		}
		v = reachable(v)
	}
	return v, true
}

// leftOut reports whether v is not zero although its method IsZero returns true. If
// the type has a method Equal, that decides whether v is zero.
func leftOut(v reflect.Value) bool {
	if v.IsZero() || v.Kind() == reflect.Pointer && v.IsNil() {
		return false
	}
	z, ok := v.Interface().(interface{ IsZero() bool })
	if !ok && v.CanAddr() {
		z, ok = v.Addr().Interface().(interface{ IsZero() bool })
	}
	if !ok || !z.IsZero() {
		return false
	}
	equal := v.MethodByName("Equal")
	if equal.IsValid() && equal.Type().NumIn() == 1 && equal.Type().In(0) == v.Type() && equal.Type().NumOut() == 1 && equal.Type().Out(0).Kind() == reflect.Bool {
		return !equal.Call([]reflect.Value{reflect.Zero(v.Type())})[0].Bool()
	}
	return true
}

func checkTime(v reflect.Value) *lostError {
	var t *time.Time
	if v.CanAddr() {
		t = v.Addr().Interface().(*time.Time)
	} else {
		at := v.Interface().(time.Time)
		t = &at
	}
	if t.Location() == time.UTC {
		return nil
	}
	if zone, offset := t.Zone(); offset%60 != 0 {
		return lost("is %s in the zone %s, whose offset has seconds, which a time in JSON does not: use UTC", t.Format(time.DateTime), zone)
	}
	return nil
}

func (s *shape) checkPointer(v reflect.Value, suspect bool) *lostError {
	if v.IsNil() {
		return nil
	}
	v = v.Elem()
	if k := v.Kind(); canBeNil(k) && v.IsNil() && (s.elem == nil || s.elem.form != marshalled) {
		return lost("is a pointer to nil, which is read back as a nil pointer")
	}
	return s.elem.check(v, suspect)
}

func (s *shape) checkAll(v reflect.Value, suspect bool) *lostError {
	if s == nil {
		return nil
	}
	for i := range v.Len() {
		if err := s.check(v.Index(i), suspect); err != nil {
			return err.in(fmt.Sprintf("[%d]", i))
		}
	}
	return nil
}

func (s *shape) checkMap(v reflect.Value, suspect bool) *lostError {
	for entries := v.MapRange(); entries.Next(); {
		if err := s.key.check(entries.Key(), suspect); err != nil {
			return err.in(fmt.Sprintf("[%q]", fmt.Sprint(entries.Key())))
		}
		if err := s.elem.check(entries.Value(), suspect); err != nil {
			return err.in(fmt.Sprintf("[%q]", fmt.Sprint(entries.Key())))
		}
	}
	return nil
}

// checkAny checks the value in an interface. encoding/json writes every type, but
// reads back only the types that it chooses for untyped JSON.
func checkAny(v reflect.Value) *lostError {
	if !v.IsValid() {
		return nil
	}
	switch held := v.Interface().(type) {
	case bool, float64:
		return nil
	case string:
		if !utf8.ValidString(held) {
			return lost("is not UTF-8")
		}
		return nil
	case []any:
		for i := range held {
			if err := checkAny(reflect.ValueOf(held[i])); err != nil {
				return err.in(fmt.Sprintf("[%d]", i))
			}
		}
		return nil
	case map[string]any:
		for key, value := range held {
			err := checkAny(reflect.ValueOf(value))
			if !utf8.ValidString(key) {
				err = lost("is not UTF-8")
			}
			if err != nil {
				return err.in(fmt.Sprintf("[%q]", key))
			}
		}
		return nil
	}
	return lost("is an interface and holds a %s, which is read back as another type: let it hold string, float64, bool, []any or map[string]any, or give it a type", v.Type())
}

// mayBeReplaced reports whether data, which is JSON, contains a U+FFFD, with which
// encoding/json replaces invalid UTF-8, as documented. It may write the rune itself
// or its escape.
func mayBeReplaced(data []byte) bool {
	if bytes.Contains(data, []byte("\ufffd")) {
		return true
	}
	for {
		i := bytes.IndexByte(data, '\\')
		if i < 0 {
			return false
		}
		if data[i+1] == 'u' && bytes.EqualFold(data[i+2:i+6], []byte("fffd")) {
			return true
		}
		data = data[i+2:]
	}
}

// writtenBy returns what the methods of v write. The caller has written v before
// without an error.
func writtenBy(v reflect.Value) (text []byte) {
	held := v.Interface()
	if v.CanAddr() {
		held = v.Addr().Interface()
	}
	switch m := held.(type) {
	case json.Marshaler:
		text, _ = m.MarshalJSON()
	case encoding.TextMarshaler:
		text, _ = m.MarshalText()
	}
	return text
}

// validStrings reports whether all strings in v are valid UTF-8, including those in
// unexported fields. It stops at a depth that ends cycles of pointers.
func validStrings(v reflect.Value, depth int) bool {
	if depth > 16 {
		return true
	}
	switch v.Kind() {
	case reflect.String:
		return utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || validStrings(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return true
		}
		for i := range v.Len() {
			if !validStrings(v.Index(i), depth+1) {
				return false
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if !validStrings(entries.Key(), depth+1) || !validStrings(entries.Value(), depth+1) {
				return false
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !validStrings(v.Field(i), depth+1) {
				return false
			}
		}
	}
	return true
}
