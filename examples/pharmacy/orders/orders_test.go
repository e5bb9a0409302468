package orders_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/examples/pharmacy/orders"
	"github.com/tidings-go/tidings/tidingstest"
)

// A shop is the module orders alone, with order O-1 of the items I-1 and I-2. The
// tests publish the events of the module ehr.
type shop struct {
	*orders.Orders
	db  *sql.DB
	bus *tidings.EventBus
	rec *tidingstest.Recorder
}

func open(t *testing.T, opts ...tidings.Option) shop {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec(orders.Schema)
	require.NoError(t, err)

	bus := tidingstest.NewBus(t, opts...)
	rec := tidingstest.Record(bus)
	s := shop{orders.Register(bus, db), db, bus, rec}
	require.NoError(t, s.Place(t.Context(), "O-1",
		orders.Item{ID: "I-1", Product: "amoxicillin"}, orders.Item{ID: "I-2", Product: "ibuprofen"}))
	return s
}

func (s shop) approve(ctx context.Context, item string) error {
	return tidings.Publish(ctx, s.bus, events.PrescriptionRequestApproved{OrderID: "O-1", OrderItemID: item})
}

func (s shop) requireReady(t *testing.T, want bool) {
	t.Helper()
	ready, err := s.Ready(t.Context(), "O-1")
	require.NoError(t, err)
	require.Equal(t, want, ready)
	require.Len(t, tidingstest.All[events.OrderReadyForFulfillment](s.rec.Delivered()), map[bool]int{true: 1}[want])
}

func TestLastApprovalMakesReady(t *testing.T) {
	t.Parallel()
	s := open(t)
	require.NoError(t, s.approve(t.Context(), "I-2"))
	s.requireReady(t, false)

	require.NoError(t, s.approve(t.Context(), "I-1"))
	s.requireReady(t, true)
	ready := tidingstest.Require[events.OrderReadyForFulfillment](t, s.rec.Delivered())
	require.Equal(t, "O-1", ready.OrderID)
	require.Equal(t, tidings.ListOf("amoxicillin", "ibuprofen"), ready.Products)

	last := tidingstest.All[events.PrescriptionRequestApproved](s.rec.Delivered())[1]
	require.Equal(t, last.EventID(), ready.CausationID())
	require.Equal(t, last.CorrelationID(), ready.CorrelationID())
}

func TestRedelivery(t *testing.T) {
	t.Parallel()
	s := open(t)
	first := tidings.Stamp(t.Context(), events.PrescriptionRequestApproved{OrderID: "O-1", OrderItemID: "I-1"})
	for range 2 {
		require.NoError(t, tidings.Publish(t.Context(), s.bus, first))
	}
	s.requireReady(t, false) // one item approved twice is not two items

	require.NoError(t, s.approve(t.Context(), "I-2"))
	require.NoError(t, s.approve(t.Context(), "I-2"))
	require.NoError(t, tidings.Publish(t.Context(), s.bus, first))
	s.requireReady(t, true)
}

func TestApprovalsAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = s.approve(t.Context(), []string{"I-1", "I-2"}[i%2]) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	s.requireReady(t, true)
}

// Outside a transaction the publisher gets the error. Inside one it has committed
// when the handler runs, and the error handler of the bus gets it.
func TestUnknownItem(t *testing.T) {
	t.Parallel()
	var reported []error
	s := open(t, tidings.WithErrorHandler(func(_ context.Context, err error) { reported = append(reported, err) }))
	require.ErrorContains(t, s.approve(t.Context(), "I-3"), `order "O-1" has no item "I-3"`)
	require.Empty(t, reported)

	require.NoError(t, tidings.InTx(t.Context(), s.db, nil, func(ctx context.Context, _ *sql.Tx) error {
		return s.approve(ctx, "I-3")
	}))
	require.Len(t, reported, 1)
	failure := (*tidings.HandlerError)(nil)
	require.ErrorAs(t, reported[0], &failure)
	require.Equal(t, "orders.approveItem", failure.Handler)
	require.Equal(t, "I-3", failure.Event.(events.PrescriptionRequestApproved).OrderItemID)
	s.requireReady(t, false)
}

func TestRollbackOfTheApproval(t *testing.T) {
	t.Parallel()
	s := open(t)
	errLate := errors.New("the insurance says no")
	require.ErrorIs(t, tidings.InTx(t.Context(), s.db, nil, func(ctx context.Context, _ *sql.Tx) error {
		return errors.Join(s.approve(ctx, "I-1"), s.approve(ctx, "I-2"), errLate)
	}), errLate)
	s.requireReady(t, false)
	require.Empty(t, s.rec.Delivered())
	require.Len(t, s.rec.RolledBack(), 2)
}

// The handler's own transaction fails after the publish.
func TestRollbackOfTheHandler(t *testing.T) {
	t.Parallel()
	s := open(t)
	full := errors.New("the shelf is full")
	veto := tidings.Subscribe(s.bus, func(context.Context, events.OrderReadyForFulfillment) error { return full }, tidings.InTransaction)
	require.NoError(t, s.approve(t.Context(), "I-1"))
	require.ErrorIs(t, s.approve(t.Context(), "I-2"), full)
	s.requireReady(t, false)
	tidingstest.Require[events.OrderReadyForFulfillment](t, s.rec.RolledBack())

	veto.Unsubscribe()
	require.NoError(t, s.approve(t.Context(), "I-2"), "the item is not approved yet")
	s.requireReady(t, true)
}

// In a sandbox all handlers run, and the test rolls back their changes.
func TestInSandbox(t *testing.T) {
	t.Parallel()
	s := open(t)
	tx, err := s.db.Begin()
	require.NoError(t, err)
	require.NoError(t, tidingstest.Commit(t.Context(), s.db, tx, func(ctx context.Context) error {
		return errors.Join(s.approve(ctx, "I-1"), s.approve(ctx, "I-2"))
	}))
	tidingstest.RequireSequence(t, s.rec.Delivered(),
		tidingstest.Of[events.PrescriptionRequestApproved](),
		tidingstest.Of[events.PrescriptionRequestApproved](),
		tidingstest.Of(func(e events.OrderReadyForFulfillment) bool { return e.OrderID == "O-1" }))
	require.NoError(t, tx.Rollback())

	ready, err := s.Ready(t.Context(), "O-1")
	require.NoError(t, err)
	require.False(t, ready)
}
