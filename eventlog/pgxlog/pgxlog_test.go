package pgxlog_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
	"github.com/tidings-go/tidings/internal/testdb"
)

var errOnPurpose = errors.New("on purpose")

// open returns a pool with connections of a name of their own, and a table
// "mine" of the test's.
func open(t *testing.T, params string) (pool *pgxpool.Pool, name string) {
	t.Helper()
	url := testdb.Postgres(t)
	name = testdb.SchemaOf(t, url)
	pool, err := pgxpool.New(t.Context(), url+"&application_name="+name+params)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = pool.Exec(t.Context(), "CREATE TABLE mine (n integer)")
	require.NoError(t, err)
	return pool, name
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
	pool, _ := open(t, "&pool_max_conns=1")
	inTx := func(ctx context.Context, fn func(context.Context) error) error {
		return tidings.Transact(ctx, pgxlog.Transactor(pool), fn)
	}
	require.NoError(t, inTx(t.Context(), func(ctx context.Context) error { insert(t, ctx, 1); return nil }))
	require.ErrorIs(t, inTx(t.Context(), func(ctx context.Context) error { insert(t, ctx, -1); return errOnPurpose }), errOnPurpose)
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
			return errOnPurpose
		}), errOnPurpose)
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
	for _, result := range []error{nil, errOnPurpose} {
		t.Run(fmt.Sprint(result), func(t *testing.T) {
			t.Parallel()
			pool, _ := open(t, "")
			run := pgxlog.Transactor(pool)
			published := 0
			bus := tidings.New()
			tidings.Subscribe(bus, func(context.Context, Noted) error { published++; return nil })
			require.NoError(t, tidings.Transact(t.Context(), run, func(ctx context.Context) error {
				insert(t, ctx, 1)
				inner, cancel := context.WithCancel(ctx)
				defer cancel()
				err := tidings.Transact(inner, run, func(ctx context.Context) error {
					insert(t, ctx, -1)
					require.NoError(t, tidings.Publish(ctx, bus, Noted{}))
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

// Noted is an event.
type Noted struct{ tidings.DomainEvent }

func TestTransactorFails(t *testing.T) {
	t.Parallel()
	pool, _ := open(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorContains(t, tidings.Transact(ctx, pgxlog.Transactor(pool), func(ctx context.Context) error {
		insert(t, ctx, -1)
		cancel()
		return nil
	}), "pgxlog: commit: ")
	require.ErrorContains(t, tidings.Transact(ctx, pgxlog.Transactor(pool), func(context.Context) error {
		t.Error("called")
		return nil
	}), "pgxlog: begin: ")
	require.ErrorContains(t, tidings.Transact(t.Context(), pgxlog.Transactor(pool), func(ctx context.Context) error {
		tx, _ := tidings.TxFrom[pgx.Tx](ctx, pool)
		_, err := tx.Exec(ctx, "nonsense")
		require.Error(t, err)
		return nil // dropped
	}), "pgxlog: commit: ")
	require.Empty(t, stored(t, pool))
	require.Zero(t, pool.Stat().AcquiredConns())
}

// listeners are the connections of that name that wait in LISTEN.
const listeners = `SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity WHERE application_name = $1 AND query LIKE 'LISTEN %'`

func TestListen(t *testing.T) {
	t.Parallel()
	pool, name := open(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told, err := pgxlog.Postgres(pool).Listen(ctx, name)
	require.NoError(t, err)
	require.EqualValues(t, 1, pool.Stat().AcquiredConns())
	require.Contains(t, stacks(), "pgxlog.db.Listen")
	notify := func() {
		_, err := pool.Exec(t.Context(), "SELECT pg_notify($1, '')", name)
		require.NoError(t, err)
	}
	hears := func() {
		t.Helper()
		select {
		case <-told:
		case <-time.After(time.Minute):
			t.Fatal("not told")
		}
	}
	for range 3 {
		notify()
		hears()
	}
	// Nobody is waiting: told once, later, and the sender does not block.
	for range 100 {
		notify()
	}
	hears()

	// The server ends the connection: told of what it may have missed, and
	// of what comes then.
	for range 2 {
		var before []int
		require.NoError(t, pool.QueryRow(t.Context(), listeners, name).Scan(&before))
		require.Len(t, before, 1)
		_, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", before[0])
		require.NoError(t, err)
		require.Eventually(t, func() bool { // it may stay for a while
			var now []int
			err := pool.QueryRow(t.Context(), listeners, name).Scan(&now)
			return err == nil && len(now) == 1 && now[0] != before[0]
		}, time.Minute, 10*time.Millisecond, "it listens again")
		hears()
		notify()
		hears()
	}

	cancel()
	require.Eventually(t, func() bool { return pool.Stat().AcquiredConns() == 0 }, time.Minute, 10*time.Millisecond, "it gives the connection back")
	require.Eventually(t, func() bool {
		var now []int
		return pool.QueryRow(t.Context(), listeners, name).Scan(&now) == nil && len(now) == 0
	}, time.Minute, 10*time.Millisecond, "no connection of the pool listens")
	pool.Close()
	require.Eventually(t, func() bool { return !strings.Contains(stacks(), "pgxlog.db.Listen") }, time.Minute, 10*time.Millisecond, "no goroutine is left")
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

func TestListenFails(t *testing.T) {
	t.Parallel()
	pool, _ := open(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := pgxlog.Postgres(pool).Listen(ctx, "x")
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, pool.Stat().AcquiredConns())

	pool.Close()
	_, err = pgxlog.Postgres(pool).Listen(t.Context(), "x")
	require.ErrorContains(t, err, "closed pool")
}
