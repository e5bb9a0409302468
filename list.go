package tidings

import (
	"encoding/json"
	"iter"
	"reflect"
	"slices"
)

// A List is an immutable slice for the fields of events. The zero List is empty. A List
// marshals as a JSON array. The bus checks its elements for shared memory, like the
// fields of the event. A List is safe for concurrent use.
type List[T any] struct{ items []T }

// ListOf returns a List that holds a copy of items.
func ListOf[T any](items ...T) List[T] { return List[T]{append([]T(nil), items...)} }

// At returns element i. It panics if i is out of range.
func (l List[T]) At(i int) T { return l.items[i] }

// Len returns the number of elements.
func (l List[T]) Len() int { return len(l.items) }

// All returns an iterator over the indices and the elements.
func (l List[T]) All() iter.Seq2[int, T] { return slices.All(l.items) }

// MarshalJSON implements [json.Marshaler]. It writes an array; an empty List is [],
// never null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l.items == nil {
		return []byte("[]"), nil
	}
	if reflect.TypeFor[T]().Kind() == reflect.Uint8 { // which encoding/json would write as a string
		items := make([]*T, len(l.items)) // pointers, so that their methods are called too
		for i := range l.items {
			items[i] = &l.items[i]
		}
		return json.Marshal(items)
	}
	return json.Marshal(l.items)
}

// UnmarshalJSON implements [json.Unmarshaler]. It allocates new memory for l, so that
// earlier copies of the List keep their elements.
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

// lists is implemented by every List, and by every struct that embeds a List.
type lists interface{ element() reflect.Type }

var listsInterface = reflect.TypeFor[lists]()

// listElement returns T if typ is a List[T], else nil.
func listElement(typ reflect.Type) reflect.Type {
	if typ.PkgPath() != domainEventType.PkgPath() || !typ.Implements(listsInterface) {
		return nil
	}
	return reflect.Zero(typ).Interface().(lists).element()
}

// elementsOf returns the elements of list, which is a List.
func elementsOf(list reflect.Value) reflect.Value {
	if !list.CanAddr() {
		addressable := reflect.New(list.Type()).Elem()
		addressable.Set(list)
		list = addressable
	}
	return list.Addr().Interface().(interface{ elements() reflect.Value }).elements()
}
