package tidings

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A List is an immutable slice, for the fields of events. The zero List is
// empty. It marshals as a JSON array. Its elements are checked like the
// fields of the event. It is safe for concurrent use.
type List[T any] struct{ items []T }

// ListOf returns a List with a copy of items.
func ListOf[T any](items ...T) List[T] { return List[T]{append([]T(nil), items...)} }

// At returns element i. It panics if i is out of range.
func (l List[T]) At(i int) T { return l.items[i] }

// Len returns the number of elements.
func (l List[T]) Len() int { return len(l.items) }

// All iterates over the elements and their indices.
func (l List[T]) All() iter.Seq2[int, T] { return slices.All(l.items) }

// MarshalJSON implements [json.Marshaler]: an array, never null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l.items == nil {
		return []byte("[]"), nil
	}
	if reflect.TypeFor[T]().Kind() == reflect.Uint8 { // of which json would make a string
		items := make([]*T, len(l.items)) // pointers, so that their methods are called too
		for i := range l.items {
			items[i] = &l.items[i]
		}
		return json.Marshal(items)
	}
	return json.Marshal(l.items)
}

// UnmarshalJSON implements [json.Unmarshaler]. It gives l new memory, so
// that copies of the List made before keep their elements.
func (l *List[T]) UnmarshalJSON(data []byte) error {
	var items []T
	if err := json.Unmarshal(data, &items); err != nil {
		return err
	}
	l.items = nil
	if len(items) > 0 { // all empty Lists are equal
		l.items = items
	}
	return nil
}

func (List[T]) element() reflect.Type { return reflect.TypeFor[T]() }

func (l *List[T]) elements() reflect.Value { return reflect.ValueOf(&l.items).Elem() }

// lists is implemented by every List, and by structs that embed one.
type lists interface{ element() reflect.Type }

var listsInterface = reflect.TypeFor[lists]()

// knownImmutable holds types whose memory nobody can change through a copy,
// although they contain pointers.
var knownImmutable = []reflect.Type{
	domainEventType,
	reflect.TypeFor[time.Time](),
	reflect.TypeFor[uuid.UUID](),
	reflect.TypeFor[netip.Addr](),
	reflect.TypeFor[netip.AddrPort](),
	reflect.TypeFor[netip.Prefix](),
}

// immutability decides which event types let handlers share memory.
type immutability struct {
	known []reflect.Type // WithImmutable
	off   bool           // WithSharedEvents
}

// check returns an error that names the first field through which two
// copies of an event of type t share memory.
func (im *immutability) check(t *eventType) error {
	if im.off || t.clone >= 0 {
		return nil
	}
	path, typ := im.shared(t.typ, "", map[reflect.Type]bool{})
	if typ == nil {
		return nil
	}
	remedy := ""
	if typ.Kind() == reflect.Slice {
		remedy = fmt.Sprintf("use a tidings.List[%s], or ", typ.Elem())
	}
	clone := fmt.Sprintf("give %s a method Clone() %s that copies deeply", t.name, t.name)
	if t.clonesByPointer() {
		clone = fmt.Sprintf("let the method Clone() %s have a value receiver", t.name)
	}
	return fmt.Errorf("tidings: handlers of %s would share memory through its field %s of type %s: %s%s, or declare the type immutable with tidings.WithImmutable[%s]()",
		t.name, path, typ, remedy, clone, typ)
}

// shared returns the path to, and the type of, the first mutable memory
// reachable from a copy of typ, or nil. seen breaks cycles, which only
// Lists can form.
func (im *immutability) shared(typ reflect.Type, path string, seen map[reflect.Type]bool) (string, reflect.Type) {
	if seen[typ] || slices.Contains(knownImmutable, typ) || slices.Contains(im.known, typ) {
		return "", nil
	}
	seen[typ] = true
	if elem := handleElement(typ); elem != nil {
		return im.shared(elem, path+".Value()", seen)
	}
	if elem := listElement(typ); elem != nil {
		return im.shared(elem, path+"[]", seen)
	}
	switch typ.Kind() {
	case reflect.Array:
		if typ.Len() == 0 {
			return "", nil
		}
		return im.shared(typ.Elem(), path+"[]", seen)
	case reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			if p, t := im.shared(f.Type, strings.TrimPrefix(path+"."+f.Name, "."), seen); t != nil {
				return p, t
			}
		}
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
		return path, typ
	}
	return "", nil
}

// listElement returns T if typ is a List[T], else nil.
func listElement(typ reflect.Type) reflect.Type {
	if typ.PkgPath() != domainEventType.PkgPath() || !typ.Implements(listsInterface) {
		return nil
	}
	return reflect.Zero(typ).Interface().(lists).element()
}

// elementsOf returns the elements of list, a List.
func elementsOf(list reflect.Value) reflect.Value {
	if !list.CanAddr() {
		addressable := reflect.New(list.Type()).Elem()
		addressable.Set(list)
		list = addressable
	}
	return list.Addr().Interface().(interface{ elements() reflect.Value }).elements()
}

// handleElement returns T if typ is a unique.Handle[T], else nil. The
// pointer in it leads to memory that only package unique sees; what users
// get is the T.
func handleElement(typ reflect.Type) reflect.Type {
	value, ok := typ.MethodByName("Value")
	if typ.PkgPath() != "unique" || !ok {
		return nil
	}
	return value.Type.Out(0)
}
