package durable_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// faultHold publishes, and waits in the transaction once the jobs are in it.
func faultHold(t *testing.T, h harness, plan faultPlan) {
	h.transactor = h.transactThen(func(ctx context.Context) {
		var inside, outside int
		const query = "SELECT count(*) FROM river_job"
		require.NoError(t, faultScan(ctx, h, query, &inside))
		require.NoError(t, faultScan(t.Context(), h, query, &outside))
		say("stored", inside-outside)
		await("go")
	})
	w := newFaultWorker(t, h, plan, effectHandler, orderedHandler)
	_ = w.order(t.Context(), h, tidings.Stamp(t.Context(), Accepted{Number: "held"}))
}

// transactThen is transact, but calls then last of all before the commit.
func (h harness) transactThen(then func(context.Context)) tidings.Transactor {
	return tidings.Transactor{DB: h.transactor.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
		if h.sql == nil {
			return pgxtx.Transactor(h.pool).Run(ctx, func(ctx context.Context) error {
				defer then(ctx)
				return body(ctx)
			})
		}
		tx, err := h.sql.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		ctx = tidings.WithTx(ctx, h.sql, tx)
		if err := body(ctx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		then(ctx)
		return tx.Commit()
	}}
}

// faultLeave publishes, and waits after the commit. It works no jobs.
func faultLeave(t *testing.T, h harness, plan faultPlan) {
	w := newFaultWorker(t, h, plan, effectHandler, orderedHandler)
	tidings.Subscribe(w.bus, func(context.Context, Accepted) error {
		say("committed")
		await("go")
		return nil
	})
	_ = w.order(t.Context(), h, tidings.Stamp(t.Context(), Accepted{Number: "left"}))
}

// faultPublish publishes, one order in each transaction, until it is killed.
func faultPublish(t *testing.T, h harness, plan faultPlan) {
	w := newFaultWorker(t, h, plan, effectHandler, orderedHandler)
	for n := 0; ; n++ {
		number := fmt.Sprintf("%s-%d", plan.Name, n%3)
		require.NoError(t, w.order(t.Context(), h, tidings.Stamp(t.Context(), Accepted{Number: number, Total: int64(n)})))
		if n == 0 {
			say("began")
		}
	}
}

func TestFaultPublisherKilled(t *testing.T) {
	t.Parallel()
	faultsTakeTime(t)
	alongside(t, []string{"sqlite", "sql", "pgx"}, func(t *testing.T, h harness) {
		w := newFaultWorker(t, h, faultPlan{Name: "parent"}, effectHandler, orderedHandler)
		jobs := func() int { return h.count(t, "SELECT count(*) FROM river_job") }

		c := startFault(t, h, faultPlan{Do: "hold"})
		require.Equal(t, "2", c.hear(t, "stored"))
		c.kill(t)
		require.NoError(t, w.order(t.Context(), h, tidings.Stamp(t.Context(), Accepted{Number: "next"})), "nobody has the lock any more")
		require.Equal(t, 2, jobs(), "those of the next one")
		require.Equal(t, 1, h.count(t, "SELECT count(*) FROM orders"))

		c = startFault(t, h, faultPlan{Do: "leave"})
		c.hear(t, "committed")
		c.kill(t)
		require.Equal(t, 4, jobs())
		require.Equal(t, 2, h.count(t, "SELECT count(*) FROM orders"))

		const rounds = 20
		next := startFault(t, h, faultPlan{Do: "publish", Name: "0"})
		for round := range rounds {
			c = next
			c.hear(t, "began")
			if round < rounds-1 { // it gets ready meanwhile
				next = startFault(t, h, faultPlan{Do: "publish", Name: fmt.Sprint(round + 1)})
			}
			<-time.After(time.Duration(rand.IntN(80_000)) * time.Microsecond)
			c.kill(t)
		}

		require.Zero(t, h.count(t, "SELECT count(*) FROM effects"), "nobody works yet")
		start(t, w.jobs)
		allDone(t, h)
		t.Logf("%s: killed 1 publisher before its commit, 1 after it, and %d at any moment", h.name, rounds)
		balanced(t, h, -1, effectHandler, orderedHandler)
		require.Greater(t, h.count(t, "SELECT count(*) FROM orders"), 2+rounds-1)
		require.Equal(t, 2*h.count(t, "SELECT count(*) FROM orders"), jobs(), "one for each handler")
	})
}
