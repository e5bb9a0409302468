package durable_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// Workers are killed while some of their handlers have written and not
// committed, and others wait for the end of one that was killed before.
func TestFaultWorkerKilled(t *testing.T) {
	t.Parallel()
	faultsTakeTime(t)
	alongside(t, []string{"sqlite", "sql", "pgx"}, func(t *testing.T, h harness) {
		w := newFaultWorker(t, h, faultPlan{Name: "parent"}, allHandlers...)
		orders, twice, kills := 80, 40, 8
		if !h.postgres() { // which takes its time under the race detector
			orders, twice = 50, 30
		}
		calls := 3*orders + twice // at least; what is published twice is handled once
		most := calls/kills - 1   // of each worker before it hangs, so that the last one has something to hang in
		for n := range orders {
			e := tidings.Stamp(t.Context(), Accepted{Number: fmt.Sprint(n % 20), Total: int64(n)})
			require.NoError(t, w.order(t.Context(), h, e))
		}
		for n := range twice {
			e := tidings.Stamp(t.Context(), Created{Client: fmt.Sprint(n)})
			again := func(ctx context.Context) error { return tidings.Publish(ctx, w.bus, e) }
			require.NoError(t, w.order(t.Context(), h, e, again))
		}
		jobs := unfinished(h)
		require.Equal(t, 3*orders+2*twice, jobs)

		plan := faultPlan{Workers: 5, HangAt: atHandler, JobTimeout: 2 * time.Second, RescueAfter: 2 * time.Second}
		for n := range kills {
			plan.Name, plan.HangAfter = fmt.Sprint(n), 5+rand.IntN(most-4)
			c := startWorking(t, h, plan)
			c.hear(t, "hung")
			<-time.After(time.Duration(rand.IntN(50)) * time.Millisecond)
			c.kill(t)
			if n < kills-1 { // the last time nobody helps
				withoutLeader(t, h)
			}
		}
		left := h.count(t, "SELECT count(*) FROM river_job WHERE state <> 'completed'")
		killed := h.count(t, "SELECT count(*) FROM river_job WHERE state = 'running'")
		require.Positive(t, killed)

		plan.Name, plan.HangAt = "last", ""
		c := startWorking(t, h, plan)
		began := time.Now()
		allDone(t, h)
		t.Logf("%s: %d jobs, %d workers killed; %d jobs were left, %d of them taken for running, and done in %.1f s",
			h.name, jobs, kills, left, killed, time.Since(began).Seconds())
		require.Positive(t, c.stop(t))
		balanced(t, h, orders, allHandlers...)
		require.Equal(t, jobs, h.count(t, "SELECT count(*) FROM river_job"))
	})
}
