package transactions_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

// testSandbox: code that begins transactions runs inside the transaction of a
// test, which is rolled back.
func testSandbox(t *testing.T, f *fixture) {
	if f.sandbox == nil {
		t.Skip("code that begins by hand does not look for the transaction of a test")
	}
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		if e.Number != "A" {
			return nil
		}
		return f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "A2") })
	})
	db, tx := f.sandbox(t)
	require.NoError(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			return errChangedMind
		}), errChangedMind)
		return f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "C") })
	}))
	require.Empty(t, f.failed)
	require.Equal(t, []string{"A", "A2", "C"}, f.delivered)
	f.requireDropped(t, "B")

	stored, err := f.stored(t.Context())
	require.NoError(t, err)
	require.Empty(t, stored, "the test has not committed")
}
