package durable_test

import (
	"testing"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
	"time"
)

func TestTransport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(testing.TB) harness
	}{{"sqlite", openSQLite}, {"sql", openSQL}, {"pgx", openPgx}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			features := tidingstest.Features{Unordered: true, NoDrain: true, OneWriter: tt.name == "sqlite", Patience: 5 * time.Minute}
			tidingstest.TestTransport(t, features, func(t *testing.T) tidingstest.Subject {
				h := tt.open(t)
				jobs := h.jobs(t, river.Config{})
				quick := durable.Backoff(func(int) time.Duration { return 10 * time.Millisecond })
				return tidingstest.Subject{Via: tidings.Via(jobs.With(quick)), InTx: h.transact, Start: jobs.Start}
			})
		})
	}
}
