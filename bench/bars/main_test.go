package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Three runs, of which the median counts, on several processors and on one.
const output = `goos: linux
BenchmarkA/contender=bare-2      	 100	 10.5 ns/op	 0 B/op	 0 allocs/op
BenchmarkA/contender=peer-2      	 100	 20 ns/op	 0 B/op	 0 allocs/op
BenchmarkA/contender=tidings-2   	 100	 900 ns/op	 0 B/op	 2 allocs/op
BenchmarkA/contender=tidings-2   	 100	 1 ns/op	 0 B/op	 2 allocs/op
BenchmarkA/contender=tidings     	 100	 21 ns/op	 7 B-heap	 0 B/op	 2 allocs/op
PASS
`

func TestBars(t *testing.T) {
	t.Parallel()
	const ours = "A/contender=tidings"
	for _, tt := range []struct{ reason, bar, want string }{
		{"at the limit", ours + " ns/op 2 bare", "met          A/contender=tidings: 21 ns/op, at most 21, 2 times A/contender=bare"},
		{"above it", ours + " ns/op 1.9 bare", "MISSED       A/contender=tidings: 21 ns/op, at most 19.95, 2 times A/contender=bare"},
		{"the least of the others", ours + " ns/op 1 peer,bare", "MISSED       A/contender=tidings: 21 ns/op, at most 10.5, 2 times A/contender=bare"},
		{"on top of a ratio", ours + " ns/op 1 A/contender=bare 10.5", "met          A/contender=tidings: 21 ns/op, at most 21, 2 times A/contender=bare"},
		{"no ratio", ours + " allocs/op 0 - 1", "MISSED       A/contender=tidings: 2 allocs/op, at most 1"},
		{"another unit", ours + " B-heap 0 - 7", "met          A/contender=tidings: 7 B-heap, at most 7"},
		{"nothing is known of ours", "B ns/op 1 A/contender=bare", "not measured B: NaN ns/op, at most 10.5, NaN times A/contender=bare"},
		{"nor of one of the others", ours + " ns/op 1 bare,no,peer", "not measured A/contender=tidings: 21 ns/op, at most NaN, NaN times A/contender=no"},
	} {
		var page strings.Builder
		met, missed, err := judge(&page, "# a comment\n\n"+tt.bar+"\n", read(output))
		require.NoError(t, err)
		line, _, _ := strings.Cut(page.String(), "\n")
		require.Equal(t, tt.want, line, tt.reason)
		require.Equal(t, strings.HasPrefix(tt.want, "met"), met == 1, tt.reason)
		require.Equal(t, strings.HasPrefix(tt.want, "MISSED"), missed == 1, tt.reason)
	}
	_, _, err := judge(&strings.Builder{}, bars, figures{})
	require.NoError(t, err, "of all bars")
	_, _, err = judge(&strings.Builder{}, ours+" ns/op", figures{})
	require.Error(t, err)
}
