package drivers_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

type noted struct{ tidings.DomainEvent }

// InTx returns nil if and only if the rows are there, although a driver's Commit returns
// nil after the database has rolled back.
func TestInTxWhereTheCommitSucceeds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, open func(t *testing.T) database) {
		d := open(t)
		requireBoth(t, d, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, d.fail)
			require.Error(t, err)
			return nil // dropped
		})
	})
}

// When ctx ends, database/sql rolls back, and says later that the transaction has ended
// already, or what the driver says.
func TestInTxCancelled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, open func(t *testing.T) database) {
		d := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := tidings.InTx(ctx, d.pool, nil, func(_ context.Context, tx *sql.Tx) error {
			_, err := tx.Exec(d.insert, 1)
			require.NoError(t, err)
			cancel()
			for n := 2; err == nil; n++ { // until database/sql has noticed
				_, err = tx.Exec(d.insert, n)
			}
			require.NotErrorIs(t, err, context.Canceled)
			return err
		})
		require.ErrorIs(t, err, context.Canceled)
		stored, err := d.stored(t.Context())
		require.NoError(t, err)
		require.Empty(t, stored)
	})
}

// requireBoth runs fn in a transaction after a row and an event, and checks that both are
// there if InTx returns nil, and neither if it fails.
func requireBoth(t *testing.T, d database, fn func(context.Context, *sql.Tx) error) error {
	t.Helper()
	bus := tidings.New()
	delivered := 0
	tidings.Subscribe(bus, func(context.Context, noted) error { delivered++; return nil })
	err := tidings.InTx(t.Context(), d.pool, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, d.insert, 1)
		require.NoError(t, err)
		require.NoError(t, tidings.Publish(ctx, bus, noted{}))
		return fn(ctx, tx)
	})
	stored, serr := d.stored(t.Context())
	require.NoError(t, serr)
	if err == nil {
		require.Equal(t, []int{1}, stored)
		require.Equal(t, 1, delivered)
	} else {
		require.NotContains(t, stored, 1, err)
		require.Zero(t, delivered, err)
	}
	require.NoError(t, tidings.InTx(t.Context(), d.pool, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, d.insert, 2)
		return err
	}), "the connection is still good")
	return err
}

// The transaction loses a deadlock, which ends all of it, and fn goes on.
func TestMariaDBDeadlock(t *testing.T) {
	t.Parallel()
	d := mariadb(t)
	exec := func(tx interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}, statement string, args ...any) {
		t.Helper()
		_, err := tx.ExecContext(t.Context(), statement, args...)
		require.NoError(t, err)
	}
	exec(d.observer, `CREATE TABLE locks (n INTEGER PRIMARY KEY, v INTEGER)`)
	exec(d.observer, `INSERT INTO locks VALUES (101, 0), (102, 0)`)
	var lost error
	err := tidings.InTx(t.Context(), d.pool, nil, func(ctx context.Context, tx *sql.Tx) error {
		exec(tx, d.insert, 1)
		exec(tx, `UPDATE locks SET v = 1 WHERE n = 101`)
		other, err := d.observer.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		for n := 200; n < 300; n++ { // the transaction with more rows wins
			exec(other, `INSERT INTO locks VALUES (?, 0)`, n)
		}
		exec(other, `UPDATE locks SET v = 2 WHERE n = 102`)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = other.Exec(`UPDATE locks SET v = 2 WHERE n = 101`)
			_ = other.Rollback()
		})
		require.Eventually(t, func() bool { // the other one waits for ours
			var waiting int
			require.NoError(t, d.observer.QueryRow(`SELECT count(*) FROM information_schema.innodb_lock_waits`).Scan(&waiting))
			return waiting > 0
		}, 10*time.Second, 10*time.Millisecond)
		_, lost = tx.ExecContext(ctx, `UPDATE locks SET v = 1 WHERE n = 102`)
		wg.Wait()
		return nil // dropped
	})
	require.ErrorContains(t, lost, "Deadlock")
	require.ErrorContains(t, err, "tidings: InTx: commit: the transaction has failed or ended before: ")
	stored, err := d.stored(t.Context())
	require.NoError(t, err)
	require.Empty(t, stored)
}

// MariaDB commits before CREATE TABLE. Nothing can undo that, and InTx tells.
func TestMariaDBImplicitCommit(t *testing.T) {
	t.Parallel()
	d := mariadb(t)
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, noted) error { t.Error("delivered"); return nil })
	require.ErrorContains(t, tidings.InTx(t.Context(), d.pool, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, d.insert, 1)
		require.NoError(t, err)
		require.NoError(t, tidings.Publish(ctx, bus, noted{}))
		_, err = tx.ExecContext(ctx, `CREATE TABLE more (n INTEGER)`)
		return err
	}), "the transaction has failed or ended before")
}
