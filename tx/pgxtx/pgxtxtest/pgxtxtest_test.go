package pgxtxtest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // for testdb
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/pgxtx"
	"github.com/tidings-go/tidings/tx/pgxtx/pgxtxtest"
)

type noted struct {
	tidings.DomainEvent
	N int
}

// All transactions of the code under test are those of the sandbox, also in handlers.
func TestSandbox(t *testing.T) {
	t.Parallel()
	pool, other := newPool(t), newPool(t)
	t.Run("sandbox", func(t *testing.T) {
		ctx, tx := pgxtxtest.Sandbox(t, pool)
		require.Equal(t, pgxtx.Querier(tx), pgxtx.From(ctx, pool))
		require.Equal(t, pgxtx.Querier(other), pgxtx.From(ctx, other))
		bus := tidingstest.NewBus(t)
		recorder := tidingstest.Record(bus)
		tidings.Subscribe(bus, func(ctx context.Context, e noted) error {
			if e.N >= 10 {
				return nil
			}
			return store(ctx, pool, bus, e.N+10)
		})
		require.NoError(t, store(ctx, pool, bus, 1))
		require.NoError(t, store(ctx, other, bus, 10))
		refused := errors.New("refused")
		require.ErrorIs(t, pgxtx.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO notes VALUES (3)`)
			require.NoError(t, err)
			return refused
		}), refused)
		// A savepoint of pgx in one of the sandbox.
		require.NoError(t, pgxtx.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			return errors.Join(store(ctx, pool, bus, 12), pgx.BeginFunc(ctx, tx, func(pgx.Tx) error { return nil }))
		}))
		// The table's key is checked at the COMMIT.
		require.ErrorContains(t, store(ctx, pool, bus, 1), "a COMMIT would fail")
		require.NoError(t, store(ctx, pool, bus, 13))

		require.Equal(t, []int{1, 11, 12, 13}, stored(t, tx))
		require.Len(t, recorder.Delivered(), 5)
		require.Len(t, recorder.RolledBack(), 1)
	})
	require.Empty(t, stored(t, pool))
	require.Equal(t, []int{10}, stored(t, other))
}

// store is code of a service.
func store(ctx context.Context, pool *pgxpool.Pool, bus *tidings.EventBus, n int) error {
	return pgxtx.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO notes VALUES ($1)`, n); err != nil {
			return err
		}
		return tidings.Publish(ctx, bus, noted{N: n})
	})
}

func newPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testdb.Postgres(t))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = pool.Exec(t.Context(), `CREATE TABLE notes (n integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)`)
	require.NoError(t, err)
	return pool
}

func stored(t *testing.T, db pgxtx.Querier) []int {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT n FROM notes ORDER BY n`)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	return all
}
