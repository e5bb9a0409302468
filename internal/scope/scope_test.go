package scope_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/scope"
)

// A model is a simple implementation of a transaction: lists of everything that has
// happened in it.
type model struct {
	parents []int    // of each scope; -1: none
	ends    []string // "", "committed" or "rolled back"
	items   []int    // the scope of each
	open    []int    // the scopes in progress, the outermost first
	seen    int      // how many items Unprepared has passed
	sealed  bool
}

func (m *model) inProgress(s int) bool {
	return s < 0 || m.ends[s] == "" && m.inProgress(m.parents[s])
}

func (m *model) dropped(s int) bool {
	return s >= 0 && (m.ends[s] == "rolled back" || m.dropped(m.parents[s]))
}

// next returns the first item that Unprepared has not passed and that is not dropped,
// or -1.
func (m *model) next() int {
	for i := m.seen; i < len(m.items); i++ {
		if !m.dropped(m.items[i]) {
			return i
		}
	}
	return -1
}

func (m *model) within(s, outer int) bool {
	return s == outer || s >= 0 && m.within(m.parents[s], outer)
}

// FuzzScopes compares scopes and their queue with a model, step by step. Each byte
// stands for an operation and a scope.
func FuzzScopes(f *testing.F) {
	f.Add([]byte{0, 1, 9, 2, 10, 3, 4, 12, 6, 0, 1, 13, 5, 3})
	f.Add([]byte{1, 4, 5, 1, 6, 1, 4, 4, 5})
	f.Add([]byte{0, 8, 16, 1, 9, 17, 25, 3, 11, 19, 4, 4, 5, 2})
	f.Fuzz(func(t *testing.T, operations []byte) {
		var q scope.Queue[int]
		scopes := []*scope.Scope[int]{{}}
		scopes[0].Init(&q)
		m := &model{parents: []int{-1}, ends: []string{""}, open: []int{0}}
		end := func(s int, as string) bool {
			if !m.inProgress(s) {
				return false
			}
			m.ends[s] = as
			m.open = m.open[:slices.Index(m.open, s)]
			return true
		}
		for _, op := range operations {
			n := int(op/8) % len(scopes)
			s := scopes[n]
			switch op % 8 {
			case 0:
				inner := &scope.Scope[int]{}
				inner.Nest(s)
				parent := n
				if slices.Contains(m.open, n) { // whichever scope it is, the innermost counts
					parent = m.open[len(m.open)-1]
					m.open = append(m.open, len(scopes))
				}
				scopes, m.parents, m.ends = append(scopes, inner), append(m.parents, parent), append(m.ends, "")
			case 1:
				open := !m.sealed && m.inProgress(n)
				require.Equal(t, open, s.Open())
				require.Equal(t, open, s.Add(&scope.Entry[int]{Value: len(m.items)}))
				if open {
					m.items = append(m.items, m.open[len(m.open)-1])
				}
			case 2:
				require.Equal(t, end(n, "committed"), s.Commit())
			case 3:
				require.Equal(t, end(n, "rolled back"), s.Rollback())
			case 4:
				next, got := m.next(), -1
				if e := q.Unprepared(); e != nil {
					got, m.seen = e.Value, e.Value+1
				}
				require.Equal(t, next, got)
			case 5:
				m.sealed = m.next() < 0
				require.Equal(t, m.sealed, q.Seal())
				done, err := q.Prepared()
				require.Equal(t, m.sealed, done)
				require.NoError(t, err)
			case 6:
				q.Reopen()
				m.sealed = false
			case 7:
				require.Equal(t, m.ends[n] != "", s.Ended())
				require.Equal(t, n == 0, s.Outermost())
				for outer := range scopes {
					require.Equal(t, m.within(n, outer), s.Within(scopes[outer]))
				}
			}
		}
		scopes[0].Commit()
		end(0, "committed")
		var all []int
		for e := q.End(); e != nil; e = e.Next() {
			all = append(all, e.Value)
			require.Equal(t, m.dropped(m.items[e.Value]), e.Dropped())
		}
		require.Len(t, all, len(m.items))
		require.IsIncreasing(t, append([]int{-1}, all...))
		require.Nil(t, q.Unprepared(), "the queue has forgotten them")
		require.False(t, scopes[0].Add(&scope.Entry[int]{}))
	})
}

func TestNotify(t *testing.T) {
	var q scope.Queue[int]
	outer, inner := &scope.Scope[int]{}, &scope.Scope[int]{}
	outer.Init(&q)
	inner.Nest(outer)
	var said []string
	note := func(what string) func() func() {
		return func() func() {
			said = append(said, "begin "+what)
			return func() { said = append(said, "end "+what) }
		}
	}
	inner.Notify("a", note("a"))
	outer.Notify("a", note("a again"))
	outer.Notify("b", note("b"))
	inner.Rollback()
	inner.Notify("c", note("c"))
	outer.Rollback()
	outer.Notify("d", note("d"))
	require.Equal(t, []string{"begin a", "begin b"}, said)
	q.End()
	require.Equal(t, []string{"begin a", "begin b", "end a", "end b"}, said)
}

func TestAttached(t *testing.T) {
	var q scope.Queue[int]
	s := &scope.Scope[int]{}
	s.Init(&q)
	calls := 0
	attach := func() any { calls++; return calls }
	require.Equal(t, 1, q.Attached(attach))
	require.Equal(t, 1, q.Attached(attach))
	s.Commit()
	q.End()
	require.Equal(t, 2, q.Attached(attach), "the queue has forgotten it")
}
