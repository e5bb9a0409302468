package pgxtx_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tidingstest/txtest"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	testdb.Server(t)
	txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
		url := testdb.Postgres(t)
		pool, observer := poolAt(t, url+"&pool_max_conns=1"), poolAt(t, url)
		_, err := pool.Exec(t.Context(), `CREATE TABLE notes (id serial, n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)`)
		require.NoError(t, err)
		exec := func(ctx context.Context, statement string, args ...any) error {
			tx, ok := tidings.TxFrom[pgx.Tx](ctx, pool)
			if !ok {
				return errors.New("not in a transaction")
			}
			_, err := tx.Exec(ctx, statement, args...)
			return err
		}
		return txtest.Subject{
			Transactor: pgxtx.Transactor(pool),
			Insert: func(ctx context.Context, n int) error {
				return exec(ctx, `INSERT INTO notes (n) VALUES ($1)`, n)
			},
			Fail:       func(ctx context.Context) error { return exec(ctx, `SELECT 1/0`) },
			FailCommit: func(ctx context.Context) error { return exec(ctx, `INSERT INTO notes (n) VALUES (-1), (-1)`) },
			Stored: func(ctx context.Context) ([]int, error) {
				rows, err := observer.Query(ctx, `SELECT n FROM notes ORDER BY id`)
				if err != nil {
					return nil, err
				}
				return pgx.CollectRows(rows, pgx.RowTo[int])
			},
			Native: func(ctx context.Context, fn func(context.Context) error) error {
				tx, _ := tidings.TxFrom[pgx.Tx](ctx, pool)
				return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return fn(tidings.WithTx(ctx, pool, tx)) })
			},
			Sandbox: func(t *testing.T) any {
				tx, err := pool.Begin(context.Background())
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback(context.Background())) })
				return tx
			},
		}
	})
}

func poolAt(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
