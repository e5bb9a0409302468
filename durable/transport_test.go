package durable_test

import (
	"testing"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
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
			features := transporttest.Features{Unordered: true, NoDrain: true, OneWriter: tt.name == "sqlite", Patience: 5 * time.Minute}
			transporttest.Test(t, features, func(t *testing.T) transporttest.Subject {
				h := tt.open(t)
				jobs := h.jobs(t, river.Config{})
				quick := tidings.Backoff(func(int) time.Duration { return 10 * time.Millisecond })
				return transporttest.Subject{Via: tidings.SubscribeOptions{tidings.Via(jobs), quick}, InTx: h.transact, Start: jobs.Start}
			})
		})
	}
}
