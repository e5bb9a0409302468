package txtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestSubscribeBetweenPublishAndCommit(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1)
		r.On(tidings.BeforeCommit, "B", nil)
		r.On(tidings.AfterCommit, "C", nil)
		r.MustPublish(ctx, t, 2)
		r.On(tidings.AfterCommit, "D", nil)
		return nil
	}))
	require.Equal(t, "begin B2 commit C2", r.Log(), "from the next event")
}

func TestUnsubscribeBetweenPublishAndCommit(t *testing.T) {
	t.Parallel()
	for _, static := range []bool{true, false} {
		t.Run(fmt.Sprintf("static type: %v", static), func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig()
			var gone []*tidings.Subscription
			for _, phase := range allPhases {
				for range 2 {
					gone = append(gone, tidings.Subscribe(r.Bus, func(context.Context, tidings.Event) error { r.Note("gone"); return nil }, phase))
					tidings.Subscribe(r.Bus, func(context.Context, tidings.Event) error { r.Note("%v", phase); return nil }, phase)
				}
			}
			for _, outcome := range []error{nil, txtest.ErrTx} {
				err := r.Transact(t.Context(), func(ctx context.Context) error {
					if static {
						require.NoError(t, tidings.Publish(ctx, r.Bus, txtest.Other{}))
					} else { // the type is used statically later on
						require.NoError(t, tidings.Publish[tidings.Event](ctx, r.Bus, txtest.Other{}))
						require.NoError(t, tidings.Publish(ctx, tidings.New(), txtest.Other{}))
					}
					for _, sub := range gone {
						sub.Unsubscribe()
					}
					r.Log()
					return outcome
				})
				require.ErrorIs(t, err, outcome)
				if outcome == nil {
					require.Equal(t, "BeforeCommit BeforeCommit commit AfterCommit AfterCommit", r.Log())
				} else {
					require.Equal(t, "rollback AfterRollback AfterRollback", r.Log())
				}
			}
		})
	}
}

// If the bus has met a type only behind an interface, and the type is then used
// statically, an event that is queued already must still not reach a handler that is
// unsubscribed later.
func TestUnsubscribeAfterTheRegistryWasReplaced(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	sub := tidings.Subscribe(r.Bus, func(context.Context, tidings.Event) error { r.Note("gone"); return nil })
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.Publish[tidings.Event](ctx, r.Bus, txtest.Other{}))
		require.NoError(t, tidings.Publish(ctx, r.Bus, txtest.Other{}))
		sub.Unsubscribe()
		return nil
	}))
	require.Equal(t, "begin commit", r.Log())
}

func TestUnsubscribeInAHandlerOfTheTransaction(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	var later *tidings.Subscription
	r.On(tidings.AfterCommit, "C", func(_ context.Context, e txtest.Event) error {
		if e.N == 2 {
			later.Unsubscribe()
		}
		return nil
	})
	later = r.On(tidings.AfterCommit, "L", nil)
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1, 2, 3)
		return nil
	}))
	require.Equal(t, "begin commit C1 L1 C2 L2 C3", r.Log(), "the running event finishes its snapshot, those queued behind it do not")
}

func TestOnceInTransactions(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	for _, phase := range allPhases {
		r.On(phase, phase.String(), nil, tidings.Once())
	}
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		require.ErrorIs(t, r.Transact(ctx, func(ctx context.Context) error {
			r.MustPublish(ctx, t, 1, 2)
			return txtest.ErrTx
		}), txtest.ErrTx)
		r.MustPublish(ctx, t, 3, 4)
		return nil
	}))
	require.Equal(t, "begin save InTransaction1 back BeforeCommit3 commit AfterRollback1 AfterCommit3", r.Log(),
		"the first event that reaches it counts, which one that was dropped does not")
	require.Empty(t, r.Bus.Subscriptions())
}

func TestBusClosedBetweenPublishAndCommit(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	tidings.Subscribe(r.Bus, func(_ context.Context, e txtest.Other) error { r.Note("other%d", e.N); return nil })
	r.On(tidings.AfterCommit, "D", func(ctx context.Context, e txtest.Event) error {
		return tidings.Publish(ctx, r.Bus, txtest.Other{N: e.N})
	})
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1)
		require.NoError(t, r.Bus.Close(ctx), "does not wait for open transactions")
		require.ErrorIs(t, r.Publish(ctx, 2), tidings.ErrClosed)
		return nil
	}))
	require.Equal(t, "begin I1 B1 commit C1 D1 other1", r.Log(), "the work that was accepted is done")
	require.Empty(t, r.Reported())
}

func TestTwoBusesInOneTransaction(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	second := txtest.NewRig()
	for _, phase := range allPhases {
		tidings.Subscribe(second.Bus, func(_ context.Context, e txtest.Other) error {
			r.Note("%v%d", phase, e.N)
			if phase == tidings.AfterCommit {
				return txtest.ErrTx
			}
			return nil
		}, phase)
	}
	publish := func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1)
		require.NoError(t, tidings.Publish(ctx, second.Bus, txtest.Other{N: 2}))
		r.MustPublish(ctx, t, 3)
		return nil
	}
	require.NoError(t, r.Transact(t.Context(), publish))
	require.Equal(t, "begin I1 InTransaction2 I3 B1 BeforeCommit2 B3 commit C1 AfterCommit2 C3", r.Log())
	require.Empty(t, r.Reported())
	require.Len(t, second.Reported(), 1, "by its own error handler")

	require.Error(t, r.Transact(t.Context(), func(ctx context.Context) error { return errors.Join(publish(ctx), txtest.ErrTx) }))
	require.Equal(t, "begin I1 InTransaction2 I3 rollback R1 AfterRollback2 R3", r.Log())
}
