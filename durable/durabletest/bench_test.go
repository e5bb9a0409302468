package durabletest_test

import (
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable/durabletest"
)

// BenchmarkDrain is what a test pays: nothing due, one job, and a hundred.
func BenchmarkDrain(b *testing.B) {
	for _, c := range []struct {
		name string
		open func(testing.TB) database
	}{{"sqlite", openSQLite}, {"pgx", openPgx}} {
		for _, tt := range []struct {
			name string
			jobs int
		}{{"none", 0}, {"one", 1}, {"hundred", 100}} {
			b.Run(c.name+"/"+tt.name, func(b *testing.B) {
				r := newRig(b, c.open(b), &river.Config{})
				var log journal
				tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs))
				for b.Loop() {
					if tt.jobs > 0 {
						r.publish(b, make([]Numbered, tt.jobs)...)
					}
					require.NoError(b, durabletest.Drain(b.Context(), r.jobs))
				}
				require.Len(b, log.take(), b.N*tt.jobs)
			})
		}
	}
}
