package durable_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testpostgres"
)

// The server goes away three times, and comes back, while some publish and
// others work.
func TestFaultPostgresStops(t *testing.T) {
	t.Parallel()
	faultsTakeTime(t)
	s := testpostgres.Start(t, "fsync=on", "max_connections=100")
	h := pgxAt(t, s.URL())
	migrate(t, riverpgxv5.New(h.pool))
	faultTables(t, h)
	handlers := []string{effectHandler, orderedHandler}
	w := newFaultWorker(t, h, faultPlan{Name: "parent"}, handlers...)

	plan := faultPlan{Handlers: handlers, Workers: 5, Works: 5 * time.Millisecond, JobTimeout: 2 * time.Second, RescueAfter: 2 * time.Second}
	var workers []*faultChild
	for _, name := range []string{"pgx", "sql"} {
		of := h
		plan.Name, of.name = name, name
		workers = append(workers, startWorking(t, of, plan))
	}

	const publishers, each = 4, 150
	var committed, failed, unknown atomic.Int64
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for n := range each {
				e := tidings.Stamp(context.Background(), Accepted{Number: fmt.Sprint(p), Total: int64(n)})
				for w.order(context.Background(), h, e) != nil {
					failed.Add(1)
					// Its answer may be lost, so look before trying again.
					if stored(h, e) {
						unknown.Add(1)
						break
					}
				}
				committed.Add(1)
			}
		})
	}
	for n, mode := range []string{"immediate", "fast", "immediate"} {
		require.Eventually(t, func() bool { return committed.Load() >= int64(100+n*150) }, 2*time.Minute, time.Millisecond)
		s.Restart(t, mode)
	}
	publishing.Wait()
	died := 0
	allDone(t, h, func() {
		for i, c := range workers {
			if workers[i] = c.alive(t, h); workers[i] != c {
				died++
			}
		}
	})
	calls := 0
	for _, c := range workers {
		calls += c.stop(t)
	}
	retried := h.count(t, "SELECT count(*) FROM river_job WHERE attempt > 1")
	t.Logf("stopped 3 times: %d transactions failed, of which %d had committed; %d jobs took more than one attempt; %d workers died; %d calls for %d jobs",
		failed.Load(), unknown.Load(), retried, died, calls, h.count(t, "SELECT count(*) FROM river_job"))
	balanced(t, h, publishers*each, handlers...)
}

// stored reports whether the transaction of event has committed, once the
// server answers.
func stored(h harness, event tidings.Event) bool {
	for {
		var n int
		if faultScan(context.Background(), h, "SELECT count(*) FROM orders WHERE event_id = '"+event.EventID().String()+"'", &n) == nil {
			return n == 1
		}
		<-time.After(20 * time.Millisecond)
	}
}
