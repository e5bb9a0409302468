package ehr_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/ehr"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/tidingstest"
)

// setup returns records with two requests, and a recorder of their events.
func setup(t *testing.T) (records *ehr.Records, db *sql.DB, rec *tidingstest.Recorder, requests []int64) {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec(ehr.Schema)
	require.NoError(t, err)

	bus := tidingstest.NewBus(t)
	rec = tidingstest.Record(bus)
	records = ehr.New(bus, db)
	for _, item := range []string{"I-1", "I-2"} {
		id, err := records.Request(t.Context(), ehr.Request{EncounterID: 5, Product: "ibuprofen", OrderID: "O-1", OrderItemID: item})
		require.NoError(t, err)
		requests = append(requests, id)
	}
	return records, db, rec, requests
}

func TestApprove(t *testing.T) {
	t.Parallel()
	records, _, rec, requests := setup(t)
	require.NoError(t, records.Approve(t.Context(), "Dr. Osei", requests[1]))

	approved := tidingstest.Require[events.PrescriptionRequestApproved](t, rec.Delivered())
	require.Equal(t, requests[1], approved.RequestID)
	require.NotZero(t, approved.PrescriptionID)
	require.EqualValues(t, 5, approved.EncounterID)
	require.Equal(t, "O-1", approved.OrderID)
	require.Equal(t, "I-2", approved.OrderItemID)
}

// All requests or none: the second approval, which succeeded, is rolled back with
// its event.
func TestApproveAllOrNone(t *testing.T) {
	t.Parallel()
	records, _, rec, requests := setup(t)
	require.NoError(t, records.Approve(t.Context(), "Dr. Osei", requests[0]))
	rec.Reset()

	err := records.Approve(t.Context(), "Dr. Osei", requests[1], requests[0])
	require.ErrorIs(t, err, ehr.ErrDecided)
	require.Empty(t, rec.Delivered())
	dropped := tidingstest.Require[events.PrescriptionRequestApproved](t, rec.RolledBack())
	require.Equal(t, requests[1], dropped.RequestID)

	require.NoError(t, records.Approve(t.Context(), "Dr. Osei", requests[1]), "it is still pending")
	tidingstest.RequireSequence(t, rec.Delivered(), tidingstest.Of[events.PrescriptionRequestApproved]())
}

func TestApproveUnknownRequest(t *testing.T) {
	t.Parallel()
	records, _, rec, _ := setup(t)
	require.ErrorContains(t, records.Approve(t.Context(), "Dr. Osei", 4711), "4711")
	require.Empty(t, rec.Delivered())
	require.Empty(t, rec.RolledBack())
}

// Approve joins the transaction of its caller.
func TestApproveInsideATransaction(t *testing.T) {
	t.Parallel()
	records, db, rec, requests := setup(t)
	errLate := errors.New("the insurance says no")
	err := tidings.InTx(t.Context(), db, nil, func(ctx context.Context, _ *sql.Tx) error {
		require.NoError(t, records.Approve(ctx, "Dr. Osei", requests...))
		return errLate
	})
	require.ErrorIs(t, err, errLate)
	require.Empty(t, rec.Delivered())
	require.Len(t, rec.RolledBack(), 2)
}
