package txtest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestHandlerContextByPhase(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	key := new(int)
	for _, phase := range allPhases {
		r.On(phase, "", func(ctx context.Context, e txtest.Event) error {
			handle, inTx := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
			r.Note("%v value=%v tx=%v%s err=%v", phase, ctx.Value(key), inTx, handle.Name, ctx.Err())
			event, ok := tidings.EventFrom(ctx)
			require.True(t, ok)
			require.Equal(t, e, event)
			return nil
		})
	}
	outside, cancel := context.WithCancel(context.WithValue(t.Context(), key, "outside"))
	require.NoError(t, tidings.Transact(outside, txtest.On(func(ctx context.Context, body func(context.Context) error) error {
		err := r.Run(ctx, body)
		cancel() // the client hangs up between commit and delivery
		return err
	}), func(ctx context.Context) error {
		ctx = context.WithValue(ctx, key, "inside")
		r.MustPublish(ctx, t, 1)
		return nil
	}))
	require.Equal(t, strings.Join([]string{
		"begin",
		"1 InTransaction value=inside tx=trueof begin err=<nil>",
		"1 BeforeCommit value=outside tx=trueof begin err=<nil>",
		"commit",
		"1 AfterCommit value=outside tx=false err=<nil>",
	}, " "), r.Log())
	require.Empty(t, r.Reported())

	outside, cancel = context.WithCancel(context.WithValue(t.Context(), key, "outside"))
	require.ErrorIs(t, r.Transact(outside, func(ctx context.Context) error {
		return r.Transact(ctx, func(ctx context.Context) error {
			r.MustPublish(context.WithValue(ctx, key, "inside"), t, 2)
			cancel()
			return ctx.Err()
		})
	}), context.Canceled)
	require.Equal(t, strings.Join([]string{
		"begin save",
		"2 InTransaction value=inside tx=trueof save err=<nil>",
		"back rollback",
		"2 AfterRollback value=outside tx=false err=<nil>",
	}, " "), r.Log())
	require.Empty(t, r.Reported())
}

func TestCancelledContexts(t *testing.T) {
	t.Parallel()
	t.Run("before the publish", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewRig().Phases()
		require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			require.Equal(t, context.Canceled, r.Publish(cancelled, 1))
			return nil
		}))
		require.Equal(t, "begin commit", r.Log(), "not delivered in any phase")
	})
	t.Run("by an InTransaction handler", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewRig()
		ctx, cancel := context.WithCancel(t.Context())
		r.On(tidings.InTransaction, "I", func(context.Context, txtest.Event) error { cancel(); return nil })
		r.On(tidings.InTransaction, "J", nil)
		r.On(tidings.BeforeCommit, "B", nil)
		r.On(tidings.AfterCommit, "C", nil)
		err := r.Transact(ctx, func(ctx context.Context) error { return r.Publish(ctx, 1) })
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "1 of 2 handlers of txtest.Event skipped")
		require.Equal(t, "begin I1 rollback", r.Log())
	})
	t.Run("before the BeforeCommit handlers", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewRig().Phases()
		ctx, cancel := context.WithCancel(t.Context())
		err := r.Transact(ctx, func(ctx context.Context) error {
			defer cancel()
			return r.Publish(ctx, 1)
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, "begin I1 rollback R1", r.Log(), "a handler that did not run must not be missed by a commit")
	})
	t.Run("outside a transaction", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewRig()
		ctx, cancel := context.WithCancel(t.Context())
		r.On(tidings.InTransaction, "I", func(context.Context, txtest.Event) error { cancel(); return nil })
		r.On(tidings.BeforeCommit, "B", nil)
		r.On(tidings.AfterRollback, "R", func(ctx context.Context, _ txtest.Event) error { return ctx.Err() })
		require.ErrorIs(t, r.Publish(ctx, 1), context.Canceled)
		require.Equal(t, "I1 R1", r.Log(), "what the cancellation ended is undone")
	})
	t.Run("by an AfterCommit handler", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewRig()
		ctx, cancel := context.WithCancel(t.Context())
		r.On(tidings.AfterCommit, "C", func(context.Context, txtest.Event) error { cancel(); return nil })
		r.On(tidings.AfterCommit, "D", nil)
		require.NoError(t, r.Transact(ctx, func(ctx context.Context) error {
			r.MustPublish(ctx, t, 1, 2)
			return nil
		}))
		require.Equal(t, "begin commit C1 D1 C2 D2", r.Log(), "committed is delivered")
		require.Empty(t, r.Reported())
	})
}

func TestCorrelationThroughTransactions(t *testing.T) {
	t.Parallel()
	workflow := uuid.New()
	bus := tidings.New()
	effects := map[tidings.Phase]tidings.Event{}
	var cause tidings.Event
	for _, phase := range allPhases {
		tidings.Subscribe(bus, func(ctx context.Context, e txtest.Event) error {
			cause = e
			return tidings.Publish(ctx, bus, txtest.Other{N: int(phase)})
		}, phase)
		// A sibling scope in which no event is published.
		tidings.Subscribe(bus, func(context.Context, txtest.Event) error { return nil }, phase)
	}
	tidings.Subscribe(bus, func(_ context.Context, e txtest.Other) error { effects[tidings.Phase(e.N)] = e; return nil })
	publish := func(ctx context.Context) error { return tidings.Publish(ctx, bus, txtest.Event{}) }

	ctx := tidings.WithCorrelationID(t.Context(), workflow)
	require.NoError(t, tidings.Transact(ctx, txtest.Bare, publish))
	require.Len(t, effects, 3)
	require.Equal(t, workflow, cause.CorrelationID())
	for phase, e := range effects {
		require.Equal(t, workflow, e.CorrelationID(), phase)
		require.Equal(t, cause.EventID(), e.CausationID(), phase)
	}

	// The event gets the correlation ID of the context that it is published with,
	// not of the context in which the transaction began.
	clear(effects)
	require.Error(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		return errors.Join(publish(tidings.WithCorrelationID(ctx, workflow)), txtest.ErrTx)
	}))
	require.Len(t, effects, 1)
	e := effects[tidings.AfterRollback]
	require.Equal(t, workflow, e.CorrelationID())
	require.Equal(t, cause.EventID(), e.CausationID())
}

func TestStampedWhenPublished(t *testing.T) {
	t.Parallel()
	// Events that wait for the commit have the time and the ID of when they
	// happened, the same in every phase.
	bus := tidings.New()
	var seen []tidings.Event
	for _, phase := range allPhases {
		tidings.Subscribe(bus, func(_ context.Context, e txtest.Event) error { seen = append(seen, e); return nil }, phase)
	}
	stamped := tidings.Stamp(t.Context(), txtest.Event{N: 2})
	var before, after tidings.Event
	require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		before = tidings.Stamp(ctx, txtest.Other{})
		require.NoError(t, tidings.Publish(ctx, bus, txtest.Event{N: 1}))
		after = tidings.Stamp(ctx, txtest.Other{})
		return tidings.Publish(ctx, bus, stamped)
	}))
	require.Len(t, seen, 6)
	require.Equal(t, []tidings.Event{seen[0], stamped, seen[0], stamped, seen[0], stamped}, seen)
	require.Less(t, before.EventID().String(), seen[0].EventID().String())
	require.Less(t, seen[0].EventID().String(), after.EventID().String())
}

// txCart has memory that copies share, and says how to copy it.
type txCart struct {
	tidings.DomainEvent
	Items []int
}

func (c txCart) Clone() txCart {
	c.Items = slices.Clone(c.Items)
	return c
}

func TestQueuedEventsAreCopies(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var seen [][]int
	for _, phase := range allPhases {
		tidings.Subscribe(bus, func(_ context.Context, e txCart) error {
			seen = append(seen, slices.Clone(e.Items))
			e.Items[0] = -1
			return nil
		}, phase)
	}
	require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		items := []int{1, 2}
		require.NoError(t, tidings.Publish(ctx, bus, txCart{Items: items}))
		items[0] = 8 // the publisher goes on with its own
		return nil
	}))
	require.Equal(t, [][]int{{1, 2}, {1, 2}, {1, 2}}, seen)
}
