package gormtx_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

func TestEventLog(t *testing.T) {
	run(t, []test{{"rows of the transaction", testEventLog}})
}

// The log finds the *sql.Tx, and its rows are undone with the transaction or savepoint.
func testEventLog(t *testing.T, f *fixture) {
	var registry tidings.Registry
	tidings.Register[InvoiceIssued](&registry, "billing.invoice_issued", 1)
	open := eventlog.SQLite
	if f.name == onPostgres.name {
		open = eventlog.Postgres
	}
	require.NoError(t, eventlog.Migrate(t.Context(), open(f.sql)))
	log, err := eventlog.Open(t.Context(), open(f.sql), &registry)
	require.NoError(t, err)
	log.Attach(f.bus)

	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.NoError(t, tx.SavePoint("sp").Error)
		require.NoError(t, f.issue(ctx, tx, "B"))
		require.NoError(t, tx.RollbackTo("sp").Error)
		require.ErrorIs(t, f.inTx(ctx, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "C"))
			return errChangedMind
		}), errChangedMind)
		return f.issue(ctx, tx, "D")
	}))
	require.ErrorIs(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "E"))
		return errChangedMind
	}), errChangedMind)

	var logged []string
	for recorded, err := range log.Read(t.Context()) {
		require.NoError(t, err)
		logged = append(logged, recorded.Event.(InvoiceIssued).Number)
	}
	require.Equal(t, []string{"A", "D"}, logged)
	f.requireCommitted(t, "A", "D")
}
