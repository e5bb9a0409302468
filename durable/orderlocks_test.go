package durable_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// A committing transaction of a pgx harness has done all that it does, and
// commits when it is told.
type committing struct {
	release func() // and wait for its end
	locks   int    // of advisory locks that it holds
}

// commitLater runs body in a transaction, and returns once only the commit is
// left to be done.
func commitLater(t *testing.T, h harness, body func(ctx context.Context) error) committing {
	t.Helper()
	held, goOn := make(chan int, 1), make(chan struct{})
	committed := make(chan error, 1)
	holding := func(ctx context.Context, run func(context.Context) error) error {
		return pgxtx.Transactor(h.pool).Run(ctx, func(ctx context.Context) error {
			if err := run(ctx); err != nil {
				return err
			}
			var n int
			tx, _ := tidings.TxFrom[pgx.Tx](ctx, h.pool)
			err := tx.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()`).Scan(&n)
			held <- n
			<-goOn
			return err
		})
	}
	go func() {
		committed <- tidings.Transact(context.Background(), tidings.Transactor{DB: h.pool, Run: holding}, body)
	}()
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	select {
	case n := <-held:
		return committing{func() {
			release()
			require.NoError(t, <-committed)
		}, n}
	case err := <-committed:
		require.NoError(t, err, "the transaction failed")
		return committing{}
	case <-time.After(10 * time.Minute):
		t.Fatal("the transaction does not come to its commit")
		return committing{}
	}
}

// The table of locks is one for the whole server: who fills it makes the
// statements of others fail.
func TestOrderOfManyLines(t *testing.T) {
	t.Parallel()
	const lines = 2_500
	h := openPgx(t)
	jobs := h.jobs(t, river.Config{})
	bus := tidings.New()
	var d diary
	tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
		d.write("%s: %d", e.Number, e.Total)
		return nil
	}, tidings.Named("crm.many"), tidings.Via(jobs), inOrder)
	tidings.Subscribe(bus, nothing[Created], tidings.Named("crm.other"),
		tidings.Via(jobs), durable.InOrderBy(func(e Created) string { return e.Client }))

	big := commitLater(t, h, func(ctx context.Context) error {
		for i := range lines {
			if err := tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i), Total: 1}); err != nil {
				return err
			}
		}
		return tidings.Publish(ctx, bus, Accepted{Number: "7", Total: 2})
	})
	require.Equal(t, 1, big.locks, "one for all lines of the handler")

	// Others go on meanwhile, and those of the same handler wait.
	for i := range 100 {
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: fmt.Sprint(i)}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, tidings.Publish(ctx, bus, Accepted{Number: "7", Total: -1}), context.DeadlineExceeded, "its place is not known yet")
	later := make(chan error, 1)
	go func() { later <- tidings.Publish(t.Context(), bus, Accepted{Number: "7", Total: 3}) }()
	waits := func() bool {
		return h.count(t, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_advisory_xact_lock%')`) > 0
	}
	require.Eventually(t, waits, time.Minute, 5*time.Millisecond)
	big.release()
	require.NoError(t, <-later)

	require.Equal(t, lines+2, h.count(t, `SELECT count(*) FROM river_job WHERE kind = 'crm.many'`))
	require.Equal(t, 2, h.count(t, `SELECT count(*) FROM river_job WHERE kind = 'crm.many' AND state = 'pending'`), "the first of each line goes")
	require.NoError(t, h.exec(t.Context(), `DELETE FROM river_job WHERE kind = 'crm.many' AND metadata ->> 'tidings_key' NOT IN ('7', '8')`))
	start(t, jobs)
	idle(t, h)
	d.becomes(t, "7: ", "1", "2", "3")
	d.becomes(t, "8: ", "1")
}

// A transaction that cannot store its jobs fails once, and not once for each.
func TestOneErrorForATransaction(t *testing.T) {
	t.Parallel()
	h := openPgx(t)
	bus := tidings.New()
	tidings.Subscribe(bus, nothing[Accepted], tidings.Named("crm.many"), tidings.Via(h.jobs(t, river.Config{})), inOrder)
	err := h.transact(t.Context(), func(ctx context.Context) error {
		if err := h.exec(ctx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"); err != nil {
			return err
		}
		for i := range 1000 {
			if err := tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	var failed *tidings.HandlerError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "crm.many", failed.Handler)
	require.ErrorContains(t, err, "storing 1000 jobs: durable: InOrderBy needs a transaction at READ COMMITTED")
	require.Less(t, len(err.Error()), 500)
}

// Who changes the dead jobs of many lines takes no more locks than who stores
// them.
func TestDiscardOfManyLines(t *testing.T) {
	t.Parallel()
	const lines = 2_500
	h := openPgx(t)
	jobs := h.jobs(t, river.Config{})
	bus := tidings.New()
	tidings.Subscribe(bus, nothing[Accepted], tidings.Named("crm.many"), tidings.Via(jobs), inOrder)
	require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
		for i := range 2 * lines {
			if err := tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i % lines)}); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, h.exec(t.Context(), `UPDATE river_job SET state = 'discarded', finalized_at = now() WHERE state = 'available'`))
	discarding := commitLater(t, h, func(ctx context.Context) error {
		n, err := jobs.Discard(ctx, durable.Selection{All: true})
		if err == nil && n != lines {
			err = fmt.Errorf("%d jobs are discarded", n)
		}
		return err
	})
	require.Equal(t, 1, discarding.locks)
	discarding.release()
	require.Equal(t, lines, h.count(t, `SELECT count(*) FROM river_job WHERE state = 'available'`), "the next in each line goes")
	require.Zero(t, pending(t, h))
}

// A transaction that locks a few lines and one that locks them all wait for
// each other, in either order: each has a place in line.
func TestOrderOfManyLinesAndFew(t *testing.T) {
	t.Parallel()
	const lines, publishers, rounds = 40, 8, 25
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("crm.many"), tidings.Via(jobs), inOrder)
		failed := make(chan error, publishers)
		for p := range publishers {
			go func() {
				var errs []error
				for range rounds {
					errs = append(errs, h.transact(t.Context(), func(ctx context.Context) error {
						n := 3 // lines
						if p%2 == 0 {
							n = lines
						}
						for i := range n {
							if err := tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprint(i), Total: int64(p)}); err != nil {
								return err
							}
						}
						return nil
					}))
				}
				failed <- errors.Join(errs...)
			}()
		}
		for range publishers {
			require.NoError(t, <-failed)
		}
		require.Equal(t, lines, h.count(t, `SELECT count(*) FROM river_job WHERE state = 'available'`), "one of each line goes")
		require.Zero(t, h.count(t, `SELECT count(*) FROM river_job AS job WHERE state = 'available' AND EXISTS (
			SELECT 1 FROM river_job AS other WHERE other.id < job.id AND other.metadata ->> 'tidings_order' = job.metadata ->> 'tidings_order')`), "the first one")
	})
}
