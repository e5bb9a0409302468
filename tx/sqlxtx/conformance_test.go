package sqlxtx_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tidingstest/txtest"
	"github.com/tidings-go/tidings/tx/sqlxtx"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
			dsn := testdb.SQLite(filepath.Join(t.TempDir(), "test.db"), "_txlock=immediate", "_pragma=foreign_keys(1)")
			return subject(t, newRig(t, "sqlite", dsn), "INTEGER")
		})
	})
	for _, driver := range []string{"pgx"} {
		t.Run("Postgres/"+driver, func(t *testing.T) {
			t.Parallel()
			testdb.Server(t)
			txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
				return subject(t, newRig(t, driver, testdb.Postgres(t)), "SERIAL")
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
		_, err := sqlxtx.From(ctx, r.db).ExecContext(ctx, statement, args...)
		return err
	}
	return txtest.Subject{
		Transactor: sqlxtx.Transactor(r.db),
		Insert: func(ctx context.Context, n int) error {
			return exec(ctx, r.db.Rebind("INSERT INTO numbers (n) VALUES (?)"), n)
		},
		Fail:       func(ctx context.Context) error { return exec(ctx, "INSERT INTO nowhere VALUES (1)") },
		FailCommit: func(ctx context.Context) error { return exec(ctx, "INSERT INTO payments VALUES (4711)") },
		Stored: func(ctx context.Context) (numbers []int, err error) {
			err = r.observer.SelectContext(ctx, &numbers, "SELECT n FROM numbers ORDER BY id")
			return numbers, err
		},
		Sandbox: func(t *testing.T) any {
			tx, err := r.db.DB.Begin()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
			return tx
		},
	}
}
