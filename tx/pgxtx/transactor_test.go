package pgxtx_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// open returns a pool of one connection, and creates a table "mine".
func open(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := newPool(t)
	_, err := pool.Exec(t.Context(), "CREATE TABLE mine (n integer)")
	require.NoError(t, err)
	return pool
}

// insert writes n in the transaction of ctx.
func insert(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	pool, _ := tidings.TxDatabase(ctx)
	tx, ok := tidings.TxFrom[pgx.Tx](ctx, pool)
	require.True(t, ok)
	_, err := tx.Exec(ctx, "INSERT INTO mine VALUES ($1)", n)
	require.NoError(t, err)
}

func stored(t *testing.T, pool *pgxpool.Pool) []int {
	t.Helper()
	rows, err := pool.Query(t.Context(), "SELECT n FROM mine ORDER BY n")
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	return all
}

func TestTransactor(t *testing.T) {
	t.Parallel()
	pool := open(t)
	inTx := func(ctx context.Context, fn func(context.Context) error) error {
		return tidings.Transact(ctx, pgxtx.Transactor(pool), fn)
	}
	require.NoError(t, inTx(t.Context(), func(ctx context.Context) error { insert(t, ctx, 1); return nil }))
	require.ErrorIs(t, inTx(t.Context(), func(ctx context.Context) error { insert(t, ctx, -1); return errRefused }), errRefused)
	require.PanicsWithValue(t, "on purpose", func() {
		_ = inTx(t.Context(), func(ctx context.Context) error { insert(t, ctx, -2); panic("on purpose") })
	})
	require.NoError(t, inTx(t.Context(), func(ctx context.Context) error {
		require.NoError(t, inTx(ctx, func(ctx context.Context) error {
			insert(t, ctx, 2)
			return inTx(ctx, func(ctx context.Context) error { insert(t, ctx, 3); return nil })
		}))
		require.ErrorIs(t, inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, inTx(ctx, func(ctx context.Context) error { insert(t, ctx, -3); return nil }))
			return errRefused
		}), errRefused)
		require.PanicsWithValue(t, "on purpose", func() {
			_ = inTx(ctx, func(ctx context.Context) error { insert(t, ctx, -4); panic("on purpose") })
		})
		require.ErrorContains(t, inTx(ctx, func(ctx context.Context) error {
			tx, _ := tidings.TxFrom[pgx.Tx](ctx, pool)
			_, err := tx.Exec(ctx, "nonsense") // the server refuses the rest until a savepoint
			require.Error(t, err)
			return nil // dropped
		}), "releasing the savepoint")
		insert(t, ctx, 4)
		return nil
	}))
	require.Equal(t, []int{1, 2, 3, 4}, stored(t, pool))
	require.Zero(t, pool.Stat().AcquiredConns())
}

// The inner context ends, the outer transaction goes on without what was
// done there, however the inner one ends.
func TestTransactorWithAContextThatEndsInASavepoint(t *testing.T) {
	t.Parallel()
	for _, result := range []error{nil, errRefused} {
		t.Run(fmt.Sprint(result), func(t *testing.T) {
			t.Parallel()
			pool := open(t)
			run := pgxtx.Transactor(pool)
			published := 0
			bus := tidings.New()
			tidings.Subscribe(bus, func(context.Context, noted) error { published++; return nil })
			require.NoError(t, tidings.Transact(t.Context(), run, func(ctx context.Context) error {
				insert(t, ctx, 1)
				inner, cancel := context.WithCancel(ctx)
				defer cancel()
				err := tidings.Transact(inner, run, func(ctx context.Context) error {
					insert(t, ctx, -1)
					require.NoError(t, tidings.Publish(ctx, bus, noted{}))
					cancel()
					return result
				})
				require.Error(t, err)
				if result == nil {
					require.ErrorIs(t, err, context.Canceled)
				}
				insert(t, ctx, 2)
				return nil
			}))
			require.Equal(t, []int{1, 2}, stored(t, pool))
			require.Zero(t, published)
		})
	}
}

func TestTransactorFails(t *testing.T) {
	t.Parallel()
	pool := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorContains(t, tidings.Transact(ctx, pgxtx.Transactor(pool), func(ctx context.Context) error {
		insert(t, ctx, -1)
		cancel()
		return nil
	}), "tidings: commit: ")
	require.ErrorContains(t, tidings.Transact(ctx, pgxtx.Transactor(pool), func(context.Context) error {
		t.Error("called")
		return nil
	}), "tidings: begin: ")
	require.ErrorContains(t, tidings.Transact(t.Context(), pgxtx.Transactor(pool), func(ctx context.Context) error {
		tx, _ := tidings.TxFrom[pgx.Tx](ctx, pool)
		_, err := tx.Exec(ctx, "nonsense")
		require.Error(t, err)
		return nil // dropped
	}), "tidings: commit: ")
	require.Empty(t, stored(t, pool))
	require.Zero(t, pool.Stat().AcquiredConns())
}
