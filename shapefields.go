package tidings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// fields returns the fields of typ, a struct, that must be checked in its values. It
// returns an error if encoding/json omits a field that does not have the tag
// json:"-".
func (s *shaper) fields(typ reflect.Type, path string, addressable bool) ([]shapeField, error) {
	list := fieldList{shaper: s, root: typ, path: path, names: map[string]string{}}
	if err := list.add(typ, nil, nil, "", addressable); err != nil {
		return nil, err
	}
	return list.fields, nil
}

// A fieldList collects the fields of a struct and of the structs that it embeds.
type fieldList struct {
	*shaper
	root   reflect.Type
	path   string
	fields []shapeField
	names  map[string]string // the names in Go, by the names in JSON
}

// join returns the path of a field.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (l *fieldList) add(typ reflect.Type, index []int, within []reflect.Type, path string, addressable bool) error {
	if slices.Contains(within, typ) { // it embeds a pointer to itself
		return nil
	}
	within = append(slices.Clip(within), typ)
	for i := range typ.NumField() {
		f := typ.Field(i)
		tag, _ := f.Tag.Lookup("json")
		name := join(path, f.Name)
		where := at(join(l.path, name), f.Type)
		if tag == "-" || f.Name == "_" || f.Type.Size() == 0 {
			continue
		}
		if f.Type == domainEventType {
			if f.Anonymous && l.root == l.event.typ {
				continue // the event's own header
			}
			return fmt.Errorf("%s is the header of an event, which has no JSON of its own: store the EventID or what else you need of it", where)
		}
		tagged, options, _ := strings.Cut(tag, ",")
		index, jsonName, target := append(slices.Clip(index), i), f.Name, f.Type
		if isJSONName(tagged) {
			jsonName = tagged
		}
		if f.Anonymous && target.Kind() == reflect.Pointer {
			target = target.Elem()
		}
		embedded := f.Anonymous && target.Kind() == reflect.Struct
		switch {
		case !f.IsExported() && !embedded:
			return fmt.Errorf("encoding/json leaves out %s, which is not exported: export it, or tag it `json:\"-\"` if it is not to be kept", where)
		case !f.IsExported() && f.Type.Kind() == reflect.Pointer:
			return fmt.Errorf("encoding/json cannot set %s, a pointer to a type that is not exported: embed the struct itself", where)
		}
		if embedded && !isJSONName(tagged) {
			if err := l.add(target, index, within, name, addressable || f.Type.Kind() == reflect.Pointer); err != nil {
				return err
			}
			continue
		}
		if other := l.names[jsonName]; other != "" {
			return fmt.Errorf("its fields %s and %s are both %q in JSON, where there is one: give them tags", join(l.path, other), join(l.path, name), jsonName)
		}
		l.names[jsonName] = name
		if err := l.addOne(f, index, name, where, options, addressable); err != nil {
			return err
		}
	}
	return nil
}

// addOne adds a field that is written under its own name.
func (l *fieldList) addOne(f reflect.StructField, index []int, name, where, options string, addressable bool) error {
	options = "," + options + ","
	target := f.Type
	if target.Name() == "" && target.Kind() == reflect.Pointer {
		target = target.Elem()
	}
	if strings.Contains(options, ",string,") && isBasic(target.Kind()) && hasAny(reflect.PointerTo(target), marshalInterfaces) {
		return fmt.Errorf("%s has the tag option \"string\", which encoding/json follows in one direction for a type with methods of its own: remove it", where)
	}
	shape, err := l.of(f.Type, join(l.path, name), addressable)
	if err != nil {
		return err
	}
	zero := strings.Contains(options, ",omitzero,") && f.Type != timeType && reflect.PointerTo(f.Type).Implements(zeroer)
	if shape != nil || zero {
		l.fields = append(l.fields, shapeField{name: name, index: index, shape: shape, zero: zero})
	}
	return nil
}

var zeroer = reflect.TypeFor[interface{ IsZero() bool }]()

func isBasic(k reflect.Kind) bool {
	return k == reflect.String || k >= reflect.Bool && k <= reflect.Float64
}

// isJSONName reports whether encoding/json accepts a name in a tag.
func isJSONName(name string) bool {
	for _, c := range name {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) {
			return false
		}
	}
	return name != ""
}
