// Package byworkers keeps values for River clients by their [river.Workers],
// the only value that the configuration of a client and a durable.Jobs share.
package byworkers

import (
	"runtime"
	"sync"
	"weak"

	"github.com/riverqueue/river"
)

// A Map has a value for each Workers until that is garbage. The zero Map is
// empty. A value must not refer to its Workers, or both are never freed.
type Map[V any] struct{ m sync.Map }

// Store sets the value for workers.
func (m *Map[V]) Store(workers *river.Workers, v V) {
	key := weak.Make(workers)
	if _, known := m.m.Swap(key, v); !known {
		runtime.AddCleanup(workers, func(key weak.Pointer[river.Workers]) { m.m.Delete(key) }, key)
	}
}

// Load returns the value for workers, which may be nil.
func (m *Map[V]) Load(workers *river.Workers) (v V, ok bool) {
	if workers == nil {
		return v, false
	}
	stored, ok := m.m.Load(weak.Make(workers))
	if !ok {
		return v, false
	}
	return stored.(V), true
}
