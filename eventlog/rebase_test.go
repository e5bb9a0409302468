package eventlog_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// A log that was restored from a dump of a server that had counted further.
func TestRebase(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		publish := func(number string) {
			t.Helper()
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: number}))
		}
		publish("1")
		publish("2")
		before := all(t, log)
		require.NoError(t, eventlog.Rebase(t.Context(), h.db), "nothing to do")
		require.Equal(t, before, all(t, log))
		if !h.postgres() {
			return
		}

		for restored := range 2 { // it may move again
			const shift = 1 << 40
			h.exec(t, fmt.Sprintf(`UPDATE tidings_events SET tx = tx + %d`, shift))
			stored := all(t, log)
			for _, opts := range [][]eventlog.Option{nil, {eventlog.WithoutMigration()}} {
				_, err := eventlog.Open(t.Context(), h.db, newRegistry(), opts...)
				require.ErrorIs(t, err, eventlog.ErrForeign)
				require.ErrorContains(t, err, "call eventlog.Rebase")
			}
			require.Less(t, settled(t, h), len(stored), "followers do not see it")

			require.NoError(t, eventlog.Rebase(t.Context(), h.db))
			log = h.open(t)
			require.Equal(t, stored, all(t, log), "no position has changed")
			last, err := log.Last(t.Context())
			require.NoError(t, err)
			require.Equal(t, stored[len(stored)-1].Position, last)
			publish(fmt.Sprint("new ", restored))
			require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Accepted{Number: "and newer"})
			}))
			require.Equal(t, fmt.Sprintf("new %d and newer", restored), numbers(all(t, log, eventlog.After(last))))
			require.GreaterOrEqual(t, settled(t, h), len(stored), "followers see it")
			require.NoError(t, eventlog.Rebase(t.Context(), h.db), "once is enough")
			h.open(t)
		}
		require.Equal(t, "1 2 new 0 and newer new 1 and newer", numbers(all(t, log)))
	})
}

// settled counts what a reader sees that waits for running transactions,
// those of other tests too.
func settled(t *testing.T, h harness) int {
	t.Helper()
	return h.count(t, `SELECT count(*) FROM tidings_events WHERE tx < tidings_tx(pg_snapshot_xmin(pg_current_snapshot()))`)
}

// Open in a transaction that has appended already takes its own events for
// what they are.
func TestOpenAfterAppending(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		_, bus := h.attached(t)
		ctx, hook := tidings.NewTxHook(t.Context(), h.key)
		ctx, commit, rollback, err := h.begin(ctx)
		require.NoError(t, err)
		t.Cleanup(func() { _ = rollback() }) // unless it has ended
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
		require.NoError(t, hook.Prepare(ctx))
		_, err = eventlog.Open(ctx, h.db, newRegistry())
		require.NoError(t, err)
		require.NoError(t, commit())
		require.NoError(t, hook.Commit(t.Context()))
	})
}
