package credit_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/credit"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/internal/database/databasetest"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestReserve(t *testing.T) {
	t.Parallel()
	accept, rec, db := setup(t, 100_00)

	require.NoError(t, accept(1, "Mill", "Tern", 60_00))
	require.NoError(t, accept(1, "Mill", "Tern", 60_00), "the same proposal does not count twice")
	require.NoError(t, accept(2, "Harbour", "Tern", 60_00), "each firm has a limit of its own")
	require.NoError(t, accept(3, "Mill", "Quarry", 60_00), "each company has a limit of its own")
	require.NoError(t, accept(4, "Mill", "Tern", 40_00), "up to the limit")
	require.Empty(t, rec.RolledBack())

	err := accept(5, "Mill", "Tern", 1)
	require.ErrorIs(t, err, credit.ErrLimitExceeded)
	require.ErrorContains(t, err, "Tern would have ordered for EUR 100.01, and the limit is EUR 100.00")
	require.Len(t, rec.RolledBack(), 1)
	require.Equal(t, 4, databasetest.Count(t, db, `SELECT COUNT(*) FROM credit_reservations`), "a refusal leaves no reservation")
}

func TestReserve_NeedsTheTransaction(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	require.NoError(t, credit.Register(t.Context(), bus, databasetest.New(t), 100_00))
	err := tidings.Publish(t.Context(), bus, events.ProposalAccepted{ProposalID: 1, Amount: 1})
	require.ErrorContains(t, err, "accepted outside a transaction")
}

// setup returns a function that accepts a proposal as crm would.
func setup(t *testing.T, limit events.Money) (accept func(id int64, firm, company string, amount events.Money) error, rec *tidingstest.Recorder, db *sql.DB) {
	t.Helper()
	bus := tidingstest.NewBus(t)
	db = databasetest.New(t)
	rec = tidingstest.Record(bus)
	require.NoError(t, credit.Register(t.Context(), bus, db, limit))
	return func(id int64, firm, company string, amount events.Money) error {
		return tidings.InTx(t.Context(), db, nil, func(ctx context.Context, _ *sql.Tx) error {
			return tidings.Publish(ctx, bus, events.ProposalAccepted{ProposalID: id, Firm: firm, Company: company, Amount: amount})
		})
	}, rec, db
}
