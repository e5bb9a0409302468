package transactions_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

func testInTransactionHandlerFails(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(context.Context, InvoiceIssued) error { return errChangedMind }, tidings.InTransaction)
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

func testHandlerSeesRow(t *testing.T, f *fixture) {
	var seen []string
	tidings.Subscribe(f.bus, func(ctx context.Context, _ InvoiceIssued) (err error) {
		seen, err = f.stored(ctx)
		return err
	})
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }))
	require.Equal(t, []string{"A"}, seen)
	require.Empty(t, f.failed)
}

func testHandlerOpensTransaction(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		if e.Number != "A" {
			return nil
		}
		if err := f.insert(ctx, "no transaction here"); !errors.Is(err, errNoTx) {
			return fmt.Errorf("the handler is in the publisher's transaction (%w)", err)
		}
		return f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, e.Number+"2") })
	})
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }))
	require.Empty(t, f.failed)
	f.requireCommitted(t, "A", "A2")
}

func testHandlerWritesInTransaction(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		return f.insert(ctx, "copy of "+e.Number)
	}, tidings.InTransaction)

	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(f.issue(ctx, "A"), errChangedMind)
	}), errChangedMind)
	f.requireCommitted(t)

	// In a savepoint the event belongs to the savepoint.
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "B"))
		require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
			return errors.Join(f.issue(ctx, "C"), errChangedMind)
		}), errChangedMind)
		return nil
	}))
	stored, err := f.stored(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"B", "copy of B"}, stored)
}

func testHandlerWritesBeforeCommit(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		return f.insert(ctx, "copy of "+e.Number)
	}, tidings.BeforeCommit)
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "A") }))
		return f.issue(ctx, "B")
	}))
	stored, err := f.stored(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B", "copy of A", "copy of B"}, stored)
}

func testBeforeCommitFails(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		return errors.Join(f.insert(ctx, "copy of "+e.Number), errChangedMind)
	}, tidings.BeforeCommit)
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "A") }), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

// testClientHangsUp: the context of the request is cancelled between the commit
// and the delivery of the event.
func testClientHangsUp(t *testing.T, f *fixture) {
	type requestID struct{}
	ctx, hangUp := context.WithCancel(context.WithValue(t.Context(), requestID{}, "r-1"))
	defer hangUp()
	var request any
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		if e.Number != "A" {
			return nil
		}
		request = ctx.Value(requestID{})
		return f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "B") })
	})
	require.NoError(t, f.transact(ctx, func(ctx context.Context) error {
		err := tidings.OnCommit(ctx, f.bus, func(context.Context) error {
			hangUp()
			return nil
		})
		return errors.Join(err, f.issue(ctx, "A"))
	}))
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.Equal(t, "r-1", request)
	require.Empty(t, f.failed)
	f.requireCommitted(t, "A", "B")
}
