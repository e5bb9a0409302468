package eventlog_test

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/internal/testpostgres"
)

// drivers are those of Postgres.
var drivers = []string{"postgres", "pgx", "pq", "pgdriver"}

// A publisher's transaction can be prepared, and lets followers see its
// events once that is committed, also by somebody else.
func TestTwoPhaseCommit(t *testing.T) {
	t.Parallel()
	server := testpostgres.Start(t, "max_prepared_transactions=5")
	for _, name := range drivers {
		t.Run(name, func(t *testing.T) {
			h := openAt(t, name, testdb.Schema(t, server.URL()))
			log, bus := h.attached(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()

			ctx, hook := tidings.NewTxHook(ctx, h.key)
			defer hook.Rollback(ctx)
			ctx, _, rollback, err := h.begin(ctx)
			require.NoError(t, err)
			defer func() { _ = rollback() }() // of what PREPARE has taken from it
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "published"}))
			_, err = log.AppendTo(ctx, "s", eventlog.NoStream, Accepted{Number: "appended"})
			require.NoError(t, err)
			require.NoError(t, hook.Prepare(ctx))
			execTx(ctx, t, h, "PREPARE TRANSACTION 'tidings_"+name+"'")

			require.Empty(t, all(t, log))
			h.exec(t, "COMMIT PREPARED 'tidings_"+name+"'")
			require.NoError(t, hook.Commit(ctx))
			var seen []eventlog.Recorded
			for r, err := range log.Follow(t.Context(), eventlog.Limit(2)) {
				require.NoError(t, err)
				seen = append(seen, r)
			}
			require.Equal(t, "appended published", numbers(seen))
		})
	}
}

// Nobody is notified where nobody listens, and those who do are notified
// once for all that was committed since the last time.
func TestListenersAreNotifiedNowAndThen(t *testing.T) {
	t.Parallel()
	server := testpostgres.Start(t) // where no other log is
	h := openAt(t, "pgx", testdb.Schema(t, server.URL()))
	_, bus := h.attached(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	listener, err := pgx.Connect(ctx, server.URL())
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close(context.Background())) }()
	_, err = listener.Exec(ctx, `LISTEN tidings_events`)
	require.NoError(t, err)
	// notified returns how often, until now.
	notified := func() (n int) {
		h.exec(t, `NOTIFY tidings_events, 'now'`)
		for {
			notification, err := listener.WaitForNotification(ctx)
			require.NoError(t, err)
			if notification.Payload == "now" {
				return n
			}
			n++
		}
	}

	fill(t, bus, 1, 100)
	require.Eventually(t, func() bool {
		return h.count(t, `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_xact_lock%' AND pid <> pg_backend_pid() AND state = 'idle'`) > 0
	}, patience, 10*time.Millisecond, "it has asked whether somebody listens")
	require.Zero(t, notified(), "this connection does not hold the lock of those who do")

	_, err = listener.Exec(ctx, fmt.Sprintf(`SELECT pg_advisory_lock_shared(%d)`, backend.ListenLock))
	require.NoError(t, err)
	const pause = 5 * time.Millisecond // of a notifier
	began := time.Now()
	fill(t, bus, 1, 500)
	first, err := listener.WaitForNotification(ctx)
	require.NoError(t, err)
	require.Empty(t, first.Payload)
	again := notified()
	require.LessOrEqual(t, again, int(time.Since(began)/pause), "the first one was before that")

	for _, name := range drivers {
		_, bus := openAt(t, name, h.url).attached(t)
		fill(t, bus, 1, 1)
		_, err := listener.WaitForNotification(ctx)
		require.NoError(t, err, name)
	}
}

// A standby is read only: nobody can listen there, so followers ask.
func TestFollowOnAStandby(t *testing.T) {
	t.Parallel()
	primary := testpostgres.Start(t)
	h := openAt(t, "postgres", testdb.Schema(t, primary.URL()))
	_, bus := h.attached(t)
	fill(t, bus, 1, 1)
	standby := primary.Standby(t)

	for _, name := range drivers {
		on := openAt(t, name, onServer(t, h.url, standby.URL()))
		log := on.open(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		seen := 0
		for r, err := range log.Follow(ctx, eventlog.Limit(3)) {
			require.NoError(t, err, name)
			require.NotEmpty(t, r.Event)
			seen++
			fill(t, bus, 1, 1)
		}
		require.Equal(t, 3, seen)
	}

	// A follower goes on when its standby becomes the server to write to.
	on := openAt(t, "pgx", onServer(t, h.url, standby.URL()))
	log, there := on.attached(t)
	last, err := log.Last(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fill(t, bus, 1, 1)
	seen := 0
	for _, err := range log.Follow(ctx, eventlog.After(last)) {
		require.NoError(t, err)
		if seen++; seen == 1 {
			standby.Promote(t)
		}
		if seen == 3 {
			break
		}
		fill(t, there, 1, 1)
	}
}

// The log of a program that notified in the transaction.
func TestMigrateAwayFromNotifying(t *testing.T) {
	t.Parallel()
	trigger := func(t *testing.T, h harness) int {
		t.Helper()
		return h.count(t, `SELECT count(*) FROM pg_trigger WHERE tgrelid = 'tidings_events'::regclass AND NOT tgisinternal`)
	}
	for _, name := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := openAt(t, name, postgresSchema(t))
			migrateTo1(t, h)
			require.Equal(t, 1, trigger(t, h))
			_, bus := h.attached(t)
			require.Zero(t, trigger(t, h))
			fill(t, bus, 1, 1)
		})
		// Nobody waits for a backup: what it keeps from being dropped does
		// nothing any more.
		t.Run(name+" during a backup", func(t *testing.T) {
			t.Parallel()
			h := openAt(t, name, postgresSchema(t))
			migrateTo1(t, h)
			ctx, _, rollback, err := h.begin(t.Context())
			require.NoError(t, err)
			execTx(ctx, t, h, `LOCK TABLE tidings_events IN ACCESS SHARE MODE`)
			_, bus := h.attached(t)
			require.Equal(t, 1, trigger(t, h))
			require.Zero(t, h.count(t, `SELECT count(*) FROM pg_proc WHERE oid = 'tidings_events_notify'::regproc AND prosrc LIKE '%pg_notify%'`))
			require.Equal(t, 2, h.count(t, `SELECT max(version) FROM tidings_schema`))
			fill(t, bus, 1, 1)
			require.NoError(t, rollback())
		})
	}
}

// migrateTo1 makes the tables of the first version.
func migrateTo1(t *testing.T, h harness) {
	t.Helper()
	text, err := fs.ReadFile(eventlog.Migrations(), "postgres/0001_events.sql")
	require.NoError(t, err)
	h.exec(t, "BEGIN;\n"+string(text)+"\nCOMMIT;")
}
