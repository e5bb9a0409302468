package testing_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions"
	"github.com/tidings-go/tidings/tidingstest/txtest"
)

// transactions.Sqlx is a Transactor that is written by hand.
func TestTransactor(t *testing.T) {
	t.Parallel()
	txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
		pool, observer := openNumbers(t)
		db := sqlx.NewDb(pool, "sqlite3")
		exec := func(ctx context.Context, query string, args ...any) error {
			tx, ok := tidings.TxFrom[*sqlx.Tx](ctx, db)
			if !ok {
				return errors.New("not in a transaction")
			}
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		}
		return txtest.Subject{
			Transactor: transactions.Sqlx(db),
			Insert: func(ctx context.Context, n int) error {
				return exec(ctx, "INSERT INTO numbers (n) VALUES (?)", n)
			},
			Fail: func(ctx context.Context) error { return exec(ctx, "INSERT INTO no_such_table VALUES (1)") },
			Stored: func(ctx context.Context) (numbers []int, err error) {
				err = sqlx.SelectContext(ctx, observer, &numbers, "SELECT n FROM numbers ORDER BY rowid")
				return numbers, err
			},
			FailCommit: func(ctx context.Context) error { // the constraint is checked by COMMIT
				return exec(ctx, "INSERT INTO parts (n) VALUES (4711)")
			},
		}
	})
}

// openNumbers returns a database with a pool of one connection, and another pool.
func openNumbers(t *testing.T) (pool *sql.DB, observer *sqlx.DB) {
	t.Helper()
	dsn := "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "numbers.db")) +
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)"
	pool, err := sql.Open("sqlite", dsn)
	require.NoError(t, err)
	pool.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	observer, err = sqlx.Open("sqlite", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, observer.Close()) })
	_, err = pool.Exec(`
		CREATE TABLE numbers (n INTEGER UNIQUE);
		CREATE TABLE parts (n INTEGER REFERENCES numbers (n) DEFERRABLE INITIALLY DEFERRED)`)
	require.NoError(t, err)
	return pool, observer
}
