package tidings_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

func TestList(t *testing.T) {
	t.Parallel()
	list := tidings.ListOf("a", "b", "c")
	require.Equal(t, 3, list.Len())
	require.Equal(t, "b", list.At(1))
	require.Panics(t, func() { list.At(3) })
	require.Panics(t, func() { list.At(-1) })
	require.Equal(t, map[int]string{0: "a", 1: "b", 2: "c"}, maps.Collect(list.All()))
	var order []int
	for i := range list.All() {
		order = append(order, i)
		if i == 1 {
			break
		}
	}
	require.Equal(t, []int{0, 1}, order)

	for _, empty := range []tidings.List[string]{{}, tidings.ListOf[string](), tidings.ListOf([]string{}...)} {
		require.Zero(t, empty.Len())
		for range empty.All() {
			require.Fail(t, "an empty list has an element")
		}
		require.Panics(t, func() { empty.At(0) })
	}
}

func TestListIsImmutable(t *testing.T) {
	t.Parallel()
	items := []int{1, 2, 3}
	list := tidings.ListOf(items...)
	items[0] = 99
	for _, item := range list.All() {
		item = 98
		_ = item
	}
	require.Equal(t, tidings.ListOf(1, 2, 3), list)

	// Decoding into a copy, with room for the elements, leaves the original.
	copied := list
	require.NoError(t, json.Unmarshal([]byte(`[7, 8]`), &copied))
	require.Equal(t, tidings.ListOf(7, 8), copied)
	require.Equal(t, tidings.ListOf(1, 2, 3), list)
	require.Error(t, json.Unmarshal([]byte(`["x"]`), &copied))
	require.Equal(t, tidings.ListOf(7, 8), copied, "a failure changes nothing")
}

func TestListAsJSON(t *testing.T) {
	t.Parallel()
	type order struct {
		Lines tidings.List[struct {
			Item string
			N    int `json:"n"`
		}]
		Bytes  tidings.List[byte]
		Nested tidings.List[tidings.List[int]]
		Left   tidings.List[int] `json:",omitzero"`
	}
	for _, tt := range []struct{ reason, json string }{
		{"empty lists are arrays, never null", `{"Lines":[],"Bytes":[],"Nested":[]}`},
		{"elements in order, bytes as numbers", `{"Lines":[{"Item":"a","n":1},{"Item":"b","n":2}],"Bytes":[1,0,255],"Nested":[[1],[],[2,3]],"Left":[4]}`},
	} {
		var o order
		require.NoError(t, json.Unmarshal([]byte(tt.json), &o), tt.reason)
		data, err := json.Marshal(o)
		require.NoError(t, err, tt.reason)
		require.Equal(t, tt.json, string(data), tt.reason)
	}
	data, err := json.Marshal(order{})
	require.NoError(t, err)
	require.Equal(t, `{"Lines":[],"Bytes":[],"Nested":[]}`, string(data), "the zero value is an array, too")
	data, err = json.Marshal(tidings.ListOf[flag](1, 255))
	require.NoError(t, err)
	require.Equal(t, `[1,255]`, string(data), "what json takes for bytes")
	var o order
	require.NoError(t, json.Unmarshal([]byte(`{"Left":null}`), &o))
	require.Zero(t, o.Left.Len())

	_, err = json.Marshal(tidings.ListOf(make(chan int)))
	require.Error(t, err)
	data, err = json.MarshalIndent(tidings.ListOf(json.RawMessage(`{"a":1}`)), "", " ")
	require.NoError(t, err)
	require.JSONEq(t, `[{"a":1}]`, string(data))
}

type flag byte

func TestListsInsideEventsReachHandlers(t *testing.T) {
	t.Parallel()
	event := holding[tidings.List[string]]{Field: tidings.ListOf("a", "b")}
	got := requireStamped(t, event)
	var items []string
	for _, item := range got.Field.All() {
		items = append(items, item)
	}
	require.Equal(t, []string{"a", "b"}, items)
}
