package pgxlog_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/eventlog/pgxlog"
	"github.com/tidings-go/tidings/internal/testdb"
)

// open returns a pool with connections of a name of their own.
func open(t *testing.T, params string) (pool *pgxpool.Pool, name string) {
	t.Helper()
	url := testdb.Postgres(t)
	name = testdb.SchemaOf(t, url)
	pool, err := pgxpool.New(t.Context(), url+"&application_name="+name+params)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool, name
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
