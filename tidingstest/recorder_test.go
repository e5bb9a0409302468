package tidingstest_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
	"github.com/tidings-go/tidings/tidingstest"
)

// onAccepted is a handler that publishes.
func onAccepted(bus *tidings.EventBus) func(context.Context, accepted) error {
	return func(ctx context.Context, e accepted) error {
		return tidings.Publish(ctx, bus, created{ClientID: e.ProposalID})
	}
}

// numbersOf returns the ProposalIDs of events, all of which are accepted.
func numbersOf(t *testing.T, events tidingstest.Events) []int64 {
	t.Helper()
	var ids []int64
	for _, e := range tidingstest.All[accepted](events) {
		ids = append(ids, e.ProposalID)
	}
	require.Len(t, ids, len(events))
	return ids
}

func TestRecorderOrder(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	first := tidingstest.Record(bus)
	tidings.Subscribe(bus, onAccepted(bus))
	last := tidingstest.Record(bus)
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 1}))
	require.NoError(t, tidings.Publish(t.Context(), bus, signed{}))

	a, b, c := tidingstest.Of[accepted](), tidingstest.Of[created](), tidingstest.Of[signed]()
	tidingstest.RequireSequence(t, first.Delivered(), a, b, c)
	tidingstest.RequireSequence(t, last.Delivered(), b, a, c)
	require.Empty(t, first.RolledBack())
}

func TestRecorderTransactions(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	no := errors.New("no")
	publish := func(ctx context.Context, id int64) {
		require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: id}))
	}
	inTx := func(ctx context.Context, fn func(context.Context) error) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error { return fn(ctx) })
	}

	// Committed, but for one savepoint.
	require.NoError(t, inTx(t.Context(), func(ctx context.Context) error {
		publish(ctx, 1)
		require.ErrorIs(t, inTx(ctx, func(ctx context.Context) error { publish(ctx, 2); return no }), no)
		require.NoError(t, inTx(ctx, func(ctx context.Context) error { publish(ctx, 3); return nil }))
		publish(ctx, 4)
		require.Empty(t, rec.Delivered(), "the transaction is open")
		require.Empty(t, rec.RolledBack(), "the transaction is open")
		return nil
	}))
	require.Equal(t, []int64{1, 3, 4}, numbersOf(t, rec.Delivered()))
	require.Equal(t, []int64{2}, numbersOf(t, rec.RolledBack()))

	// Rolled back, also what a savepoint had released.
	rec.Reset()
	require.ErrorIs(t, inTx(t.Context(), func(ctx context.Context) error {
		publish(ctx, 5)
		require.NoError(t, inTx(ctx, func(ctx context.Context) error { publish(ctx, 6); return nil }))
		return no
	}), no)
	require.Empty(t, rec.Delivered())
	require.Equal(t, []int64{5, 6}, numbersOf(t, rec.RolledBack()))

	// Failed to commit.
	rec.Reset()
	log.Fail("COMMIT", no)
	require.ErrorIs(t, inTx(t.Context(), func(ctx context.Context) error { publish(ctx, 7); return nil }), no)
	require.Empty(t, rec.Delivered())
	require.Equal(t, []int64{7}, numbersOf(t, rec.RolledBack()))
}

// Outside a transaction too, a handler can keep an event from being delivered.
func TestRecorderInTransactionHandlerFails(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	sub := tidings.Subscribe(bus, decline, tidings.InTransaction)
	require.ErrorIs(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 1}), errDeclined)
	require.Empty(t, rec.Delivered())
	require.Equal(t, []int64{1}, numbersOf(t, rec.RolledBack()))

	// A handler that fails later does not.
	sub.Unsubscribe()
	rec.Reset()
	tidings.Subscribe(bus, decline)
	require.ErrorIs(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 2}), errDeclined)
	require.Equal(t, []int64{2}, numbersOf(t, rec.Delivered()))
	require.Empty(t, rec.RolledBack())
}

func TestRecorderSnapshots(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 0}))
	rec := tidingstest.Record(bus)
	require.Empty(t, rec.Delivered(), "what was before it was not recorded")

	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 1}))
	before := rec.Delivered()
	rec.Delivered()[0] = signed{}
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 2}))
	require.Equal(t, []int64{1}, numbersOf(t, before))
	require.Equal(t, []int64{1, 2}, numbersOf(t, rec.Delivered()))

	rec.Reset()
	require.Empty(t, rec.Delivered())
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 3}))
	require.Equal(t, []int64{3}, numbersOf(t, rec.Delivered()))
}

// elsewhere is a transport for handlers that another process has.
type elsewhere struct{}

func (elsewhere) Phase() tidings.Phase                                  { return tidings.AfterCommit }
func (elsewhere) Encode(context.Context, tidings.Outgoing) (any, error) { return nil, nil }
func (elsewhere) Send(context.Context, []tidings.Outgoing) error        { return nil }
func (elsewhere) Handle(tidings.Handler) (func(), error)                { return nil, errors.New("not here") }

// A bus whose handlers run elsewhere by default is recorded here.
func TestRecorderWithTransport(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t, tidings.WithTransport(elsewhere{}))
	rec := tidingstest.Record(bus)
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted{ProposalID: 1}))
	require.Equal(t, []int64{1}, numbersOf(t, rec.Delivered()))
}

func TestRecorderConcurrent(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := tidings.Publish(t.Context(), bus, signed{}); err != nil {
				t.Error(err)
			}
			rec.Delivered()
			rec.RolledBack()
		})
	}
	wg.Wait()
	require.Len(t, rec.Delivered(), 20)
}
