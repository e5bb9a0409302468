// Package typemap implements a map with types as keys that is faster than Go's map:
// it compares the addresses of type descriptors, and hashes an address with one
// multiplication.
package typemap

import (
	"math/bits"
	"reflect"
	"unsafe"
)

// A Map is an immutable map from types to values: a hash table with open addressing
// that is at most half full.
type Map[V any] struct {
	slots []slot[V] // their number is a power of two
	shift uint      // reduces a hash to the index of a slot
}

type slot[V any] struct {
	typ   unsafe.Pointer // nil: the slot is free
	key   reflect.Type
	value *V
}

// New returns an empty Map.
func New[V any]() *Map[V] { return &Map[V]{slots: make([]slot[V], 1), shift: bits.UintSize} }

// Get returns the value of typ, or nil.
func (m *Map[V]) Get(typ reflect.Type) *V { return m.slot(address(typ)).value }

// With returns a copy of m to which typ is added with that value. typ must not be in
// m.
func (m *Map[V]) With(typ reflect.Type, value *V) *Map[V] {
	count := 1
	for range m.All {
		count++
	}
	size := bits.Len(uint(2*count - 1))
	larger := &Map[V]{slots: make([]slot[V], 1<<size), shift: uint(bits.UintSize - size)}
	for t, v := range m.All {
		larger.put(t, v)
	}
	larger.put(typ, value)
	return larger
}

func (m *Map[V]) put(typ reflect.Type, value *V) {
	*m.slot(address(typ)) = slot[V]{address(typ), typ, value}
}

// All calls yield for each type, in no particular order.
func (m *Map[V]) All(yield func(reflect.Type, *V) bool) {
	for _, s := range m.slots {
		if s.typ != nil && !yield(s.key, s.value) {
			return
		}
	}
}

// slot returns the slot that holds typ, or the free slot where typ belongs.
func (m *Map[V]) slot(typ unsafe.Pointer) *slot[V] {
	i := Spread(typ) >> m.shift
	for {
		s := &m.slots[i&uint(len(m.slots)-1)]
		if s.typ == typ || s.typ == nil {
			return s
		}
		i++
	}
}

// address returns the address of a type's descriptor, which is the second word of the
// interface. Two equal reflect.Types have the same address.
func address(typ reflect.Type) unsafe.Pointer {
	return (*[2]unsafe.Pointer)(unsafe.Pointer(&typ))[1]
}

// Spread hashes an address by Fibonacci hashing, since addresses are multiples of a
// power of two. The upper bits of the hash are the best ones.
func Spread(p unsafe.Pointer) uint {
	const goldenRatio = (0x9E3779B97F4A7C15 >> (64 - bits.UintSize)) & (1<<bits.UintSize - 1)
	return uint(uintptr(p)) * goldenRatio
}
