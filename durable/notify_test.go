package durable_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/internal/testpostgres"
)

// A publisher's transaction does not notify, so it can be prepared. Workers
// are told once the hook says that it has committed: an hour is longer than
// the test.
func TestWorkersAreToldAfterTheCommit(t *testing.T) {
	t.Parallel()
	h := sqlAt(t, testpostgres.Start(t, "max_prepared_transactions=1").URL())
	migrate(t, riverpgxv5.New(h.pool))
	jobs := h.jobs(t, river.Config{FetchCooldown: 5 * time.Millisecond, FetchPollInterval: time.Hour})
	bus := tidings.New()
	handled := make(chan string, 1)
	tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
		handled <- e.Number
		return nil
	}, tidings.Named("test.handled"), tidings.Via(jobs), durable.InOrderBy(func(e Accepted) string { return e.Number }))
	start(t, jobs)

	ctx, hook := tidings.NewTxHook(t.Context(), h.sql)
	defer hook.Rollback(ctx)
	tx, err := h.sql.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }() // of what PREPARE has taken from it
	ctx = tidings.WithTx(ctx, h.sql, tx)
	require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
	require.NoError(t, hook.Prepare(ctx))
	_, err = tx.ExecContext(ctx, `PREPARE TRANSACTION 'tidings'`)
	require.NoError(t, err)
	require.NoError(t, h.exec(t.Context(), `COMMIT PREPARED 'tidings'`))
	require.NoError(t, hook.Commit(ctx))
	require.Equal(t, "1", received(t, handled))

	// One after the other in one line, each let go by the one before.
	require.NoError(t, tidings.InTx(t.Context(), h.sql, nil, func(ctx context.Context, _ *sql.Tx) error {
		for range 3 {
			if err := tidings.Publish(ctx, bus, Accepted{Number: "2"}); err != nil {
				return err
			}
		}
		return nil
	}))
	for range 3 {
		require.Equal(t, "2", received(t, handled))
	}
}

func received(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(time.Minute):
		t.Fatal("not told")
		return ""
	}
}
