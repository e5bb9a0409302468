package eventlog_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/tidingstest"
)

// change is what an application does besides publishing.
func change(ctx context.Context, n int) (err error) {
	const query = `INSERT INTO mine VALUES ($1)`
	db, _ := tidings.TxDatabase(ctx)
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, db); ok {
		_, err = tx.ExecContext(ctx, query, n)
	} else if tx, ok := tidings.TxFrom[pgx.Tx](ctx, db); ok {
		_, err = tx.Exec(ctx, query, n)
	}
	return err
}

// backendOf returns the process of the server that runs ctx's transaction.
func backendOf(t *testing.T, ctx context.Context) (pid int) {
	t.Helper()
	const query = `SELECT pg_backend_pid()`
	db, _ := tidings.TxDatabase(ctx)
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, db); ok {
		require.NoError(t, tx.QueryRowContext(ctx, query).Scan(&pid))
	} else if tx, ok := tidings.TxFrom[pgx.Tx](ctx, db); ok {
		require.NoError(t, tx.QueryRow(ctx, query).Scan(&pid))
	}
	return pid
}

func TestFullDatabase(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	log, bus := h.attached(t)
	fullDatabase(t, h, log, bus, func() {
		h.narrow() // max_page_count is of a connection
		pages := h.count(t, `SELECT page_count FROM pragma_page_count()`)
		h.exec(t, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+20))
	}, func() { h.exec(t, `PRAGMA max_page_count = 1000000`) })
}

// The same on a disk that is full.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, NO DISK TO FILL: mount of a tmpfs, which takes root: %v: %s", err, out)
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", "-l", dir).Run()) })
	h := sqliteAt(t, filepath.Join(dir, "log.db"))
	log, bus := h.attached(t)
	t.Cleanup(h.close) // before the disk goes
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 1<<20), 0o600))
	fullDatabase(t, h, log, bus, func() {}, func() { require.NoError(t, os.Remove(ballast)) })
}

// fullDatabase publishes until there is no room, in transactions and
// outside of them, and then on when there is room again.
func fullDatabase(t *testing.T, h harness, log *eventlog.Log, bus *tidings.EventBus, fill, free func()) {
	t.Helper()
	h.exec(t, `CREATE TABLE mine (n integer)`)
	recorder := tidingstest.Record(bus)
	fill()
	publish := func(n int) error {
		return h.inTx(t.Context(), func(ctx context.Context) error {
			if err := change(ctx, n); err != nil {
				return err
			}
			return tidings.Publish(ctx, bus, Accepted{Number: strings.Repeat("x", 20_000), Total: int64(n)})
		})
	}
	var err error
	committed := 0
	for err == nil && committed < 1000 {
		if err = publish(committed); err == nil {
			committed++
		}
	}
	require.ErrorContains(t, err, "full")
	err = tidings.Publish(t.Context(), bus, Accepted{Number: strings.Repeat("x", 200_000)})
	require.ErrorContains(t, err, "full")

	require.Positive(t, committed)
	holds := func(n int) {
		t.Helper()
		require.Equal(t, n, h.count(t, `SELECT count(*) FROM mine`))
		require.Len(t, recorder.Delivered(), n)
		require.Len(t, all(t, log), n)
		for i, e := range events(all(t, log)) {
			require.Equal(t, int64(i), e.(Accepted).Total)
		}
	}
	holds(committed)
	free()
	require.NoError(t, publish(committed))
	holds(committed + 1)
}

func TestClosedDatabase(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		recorder := tidingstest.Record(bus)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		h.close()
		require.ErrorContains(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}), "closed")
		require.ErrorContains(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "3"})
		}), "closed")
		for _, err := range log.Read(t.Context()) {
			require.ErrorContains(t, err, "closed")
		}
		_, err := log.Last(t.Context())
		require.ErrorContains(t, err, "closed")
		_, err = eventlog.Open(t.Context(), h.db, newRegistry())
		require.ErrorContains(t, err, "closed")
		if err = eventlog.Rebase(t.Context(), h.db); h.postgres() {
			require.ErrorContains(t, err, "closed")
		} else {
			require.NoError(t, err, "there is nothing to do")
		}
		require.Len(t, recorder.Delivered(), 1)
		require.Equal(t, "1", numbers(all(t, h.reopened(t).open(t))))
	})
}

// The server ends the connection of a transaction, before or after the
// events were appended.
func TestTerminatedBackend(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has no server")
		}
		log, bus := h.attached(t)
		recorder := tidingstest.Record(bus)
		h.exec(t, `CREATE TABLE mine (n integer)`)
		terminate := func(ctx context.Context) {
			t.Helper()
			pid := backendOf(t, ctx)
			h.exec(t, `SELECT pg_terminate_backend($1)`, pid)
			require.Eventually(t, func() bool {
				return h.count(t, `SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, pid) == 0
			}, patience, 10*time.Millisecond)
		}
		after := false
		tidings.Subscribe(bus, func(context.Context, Created) error { return nil }, tidings.Named("later"), tidings.Via(&sender{func(ctx context.Context) error {
			if after {
				terminate(ctx) // it was appended
			}
			return nil
		}}))
		for _, after = range []bool{false, true} {
			require.Error(t, h.inTx(t.Context(), func(ctx context.Context) error {
				require.NoError(t, change(ctx, 1))
				require.NoError(t, tidings.Publish(ctx, bus, Created{Client: "lost"}))
				if !after {
					terminate(ctx)
				}
				return nil
			}), "after: %t", after)
		}
		after = false
		require.Empty(t, recorder.Delivered())
		require.Empty(t, all(t, log))
		require.Zero(t, h.count(t, `SELECT count(*) FROM mine`))

		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			require.NoError(t, change(ctx, 1))
			return tidings.Publish(ctx, bus, Created{Client: "kept"})
		}))
		require.Equal(t, "kept", numbers(all(t, log)))
	})
}

// The context ends between publishing and the commit.
func TestCancelledBeforeTheCommit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		recorder := tidingstest.Record(bus)
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, h.inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
			cancel()
			return nil
		}), context.Canceled)
		require.ErrorIs(t, tidings.Publish(ctx, bus, Accepted{Number: "2"}), context.Canceled)
		require.Empty(t, recorder.Delivered())
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "3"}))
		require.Equal(t, "3", numbers(all(t, log)))
	})
}

// Nobody waits for a lock forever: a second writer on SQLite gets an error.
func TestLockedDatabase(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	log, bus := h.attached(t)
	impatient := h.narrowed(t)
	impatient.exec(t, `PRAGMA busy_timeout = 1`)
	_, other := impatient.attached(t)
	require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
		require.ErrorContains(t, tidings.Publish(t.Context(), other, Accepted{Number: "1"}), "locked")
		return tidings.Publish(ctx, bus, Accepted{Number: "2"})
	}))
	require.NoError(t, tidings.Publish(t.Context(), other, Accepted{Number: "3"}))
	require.Equal(t, "2 3", numbers(all(t, log)))
}
