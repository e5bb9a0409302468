package buntx_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tidingstest/txtest"
	"github.com/tidings-go/tidings/tx/buntx"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
			dsn := testdb.SQLite(filepath.Join(t.TempDir(), "test.db"), "_txlock=immediate", "_pragma=foreign_keys(1)")
			return subject(t, newRig(t, "sqlite", dsn, sqlitedialect.New()), "INTEGER")
		})
	})
	for _, driver := range []string{"pgx", "pg"} {
		t.Run("Postgres/"+driver, func(t *testing.T) {
			t.Parallel()
			testdb.Server(t)
			txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
				return subject(t, newRig(t, driver, testdb.Postgres(t), pgdialect.New()), "SERIAL")
			})
		})
	}
}

func subject(t *testing.T, r *rig, serial string) txtest.Subject {
	t.Helper()
	_, err := r.db.Exec("CREATE TABLE numbers (id " + serial + " PRIMARY KEY, n INTEGER)")
	require.NoError(t, err)
	exec := func(ctx context.Context, statement string, args ...any) error {
		if _, ok := tidings.TxFrom[any](ctx, r.db.DB); !ok {
			return errors.New("not in a transaction")
		}
		_, err := buntx.From(ctx, r.db).ExecContext(ctx, statement, args...)
		return err
	}
	return txtest.Subject{
		Transactor: buntx.Transactor(r.db),
		Insert:     func(ctx context.Context, n int) error { return exec(ctx, "INSERT INTO numbers (n) VALUES (?)", n) },
		Fail:       func(ctx context.Context) error { return exec(ctx, "INSERT INTO nowhere VALUES (1)") },
		FailCommit: func(ctx context.Context) error { return exec(ctx, "INSERT INTO payments VALUES (4711)") },
		Stored: func(ctx context.Context) (numbers []int, err error) {
			rows, err := r.observer.QueryContext(ctx, "SELECT n FROM numbers ORDER BY id")
			if err != nil {
				return nil, err
			}
			err = r.db.ScanRows(ctx, rows, &numbers)
			return numbers, err
		},
		Native: func(ctx context.Context, fn func(context.Context) error) error {
			tx, ok := tidings.TxFrom[bun.Tx](ctx, r.db.DB)
			if !ok {
				return errors.New("not in a transaction")
			}
			return tx.RunInTx(ctx, nil, func(ctx context.Context, _ bun.Tx) error { return fn(ctx) })
		},
		Sandbox: func(t *testing.T) any {
			tx, err := r.db.BeginTx(context.Background(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
			return tx
		},
	}
}
