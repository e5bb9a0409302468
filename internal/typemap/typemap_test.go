package typemap_test

import (
	"maps"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/typemap"
)

func TestMap(t *testing.T) {
	t.Parallel()
	m := typemap.New[int]()
	want := map[reflect.Type]*int{}
	require.Nil(t, m.Get(reflect.TypeFor[string]()))
	for i := range 1000 {
		typ := reflect.ArrayOf(i, reflect.TypeFor[byte]())
		require.Nil(t, m.Get(typ))
		before := m
		m = m.With(typ, &i)
		want[typ] = &i
		require.Nil(t, before.Get(typ), "it does not change")
	}
	for typ, value := range want {
		require.Same(t, value, m.Get(typ))
	}
	require.Equal(t, want, maps.Collect(m.All))
	require.Nil(t, m.Get(reflect.TypeFor[string]()))
	for range m.All {
		break
	}
}

// A Map also finds types that are made at run time: reflect returns the same type for
// the same shape.
func TestSameType(t *testing.T) {
	t.Parallel()
	one := 1
	m := typemap.New[int]().With(reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeFor[int]()}}), &one)
	require.Same(t, &one, m.Get(reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeFor[int]()}})))
	require.Same(t, &one, m.Get(reflect.TypeFor[struct{ A int }]()))
}
