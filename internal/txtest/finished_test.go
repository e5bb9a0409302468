package txtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestFinishedTransactions(t *testing.T) {
	t.Parallel()
	finished := []struct {
		name   string
		finish func(t *testing.T, r *txtest.Rig) context.Context
	}{
		{"committed", func(t *testing.T, r *txtest.Rig) (done context.Context) {
			require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error { done = ctx; return nil }))
			return done
		}},
		{"rolled back", func(t *testing.T, r *txtest.Rig) (done context.Context) {
			require.Error(t, r.Transact(t.Context(), func(ctx context.Context) error { done = ctx; return txtest.ErrTx }))
			return done
		}},
		{"committed by hand", func(t *testing.T, _ *txtest.Rig) context.Context {
			ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			require.NoError(t, hook.Commit(ctx))
			return ctx
		}},
		{"rolled back by hand", func(t *testing.T, _ *txtest.Rig) context.Context {
			ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			hook.Rollback(ctx)
			return ctx
		}},
		{"prepared", func(t *testing.T, _ *txtest.Rig) context.Context {
			ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			require.NoError(t, hook.Prepare(ctx))
			return ctx
		}},
		{"begun in a finished one", func(t *testing.T, _ *txtest.Rig) context.Context {
			ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			hook.Rollback(ctx)
			ctx, _ = tidings.NewTxHook(ctx, txtest.Database)
			return ctx
		}},
		{"committed inner scope", func(t *testing.T, r *txtest.Rig) (done context.Context) {
			require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
				return r.Transact(ctx, func(ctx context.Context) error { done = ctx; return nil })
			}))
			return done
		}},
		{"inner scope left open", func(t *testing.T, _ *txtest.Rig) context.Context {
			outer, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			inner, _ := tidings.NewTxHook(outer, txtest.Database)
			hook.Rollback(outer)
			return inner
		}},
		{"derived", func(t *testing.T, _ *txtest.Rig) context.Context {
			ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			hook.Rollback(ctx)
			return context.WithoutCancel(tidings.WithTx(ctx, txtest.Database, txtest.Handle{}))
		}},
	}
	for _, tt := range finished {
		for _, subscribed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, subscribed: %v", tt.name, subscribed), func(t *testing.T) {
				t.Parallel()
				r := txtest.NewRig()
				if subscribed {
					r.Phases()
				}
				done := tt.finish(t, r)
				r.Log()
				require.ErrorIs(t, r.Publish(done, 1), tidings.ErrTxDone, "never silence")
				require.ErrorIs(t, tidings.Publish[tidings.Event](done, r.Bus, txtest.Other{}), tidings.ErrTxDone)
				require.ErrorIs(t, tidings.OnCommit(done, r.Bus, func(context.Context) error { t.Error("called"); return nil }), tidings.ErrTxDone)
				require.ErrorIs(t, r.Transact(done, func(context.Context) error { t.Error("called"); return nil }), tidings.ErrTxDone)
				again, hook := tidings.NewTxHook(done, txtest.Database)
				require.ErrorIs(t, r.Publish(again, 1), tidings.ErrTxDone)
				require.ErrorIs(t, hook.Prepare(again), tidings.ErrTxDone)
				require.ErrorIs(t, hook.Commit(again), tidings.ErrTxDone)
				hook.Rollback(again)
				require.Empty(t, r.Log(), "nothing ran")
			})
		}
	}
}

func TestInnerScopeIsFinishedBeforeTheOuter(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		var committed, failed context.Context
		require.NoError(t, r.Transact(ctx, func(ctx context.Context) error { committed = ctx; return nil }))
		require.Error(t, r.Transact(ctx, func(ctx context.Context) error { failed = ctx; return txtest.ErrTx }))
		require.ErrorIs(t, r.Publish(committed, 1), tidings.ErrTxDone)
		require.ErrorIs(t, r.Publish(failed, 2), tidings.ErrTxDone)
		return r.Publish(ctx, 3)
	}))
	require.Equal(t, "begin save release save back I3 B3 commit C3", r.Log())
}

func TestPublishBetweenBodyAndCommit(t *testing.T) {
	t.Parallel()
	// After the BeforeCommit handlers it is too late for more events: some
	// of these handlers would miss them.
	r := txtest.NewRig().Phases()
	var inside context.Context
	require.NoError(t, tidings.Transact(t.Context(), txtest.On(func(ctx context.Context, body func(context.Context) error) error {
		err := body(ctx)
		require.ErrorIs(t, r.Publish(inside, 2), tidings.ErrTxDone)
		return err
	}), func(ctx context.Context) error {
		inside = ctx
		return r.Publish(ctx, 1)
	}))
	require.Equal(t, "I1 B1 C1", r.Log())
}

func TestPublishWhileTheTransactionEnds(t *testing.T) {
	t.Parallel()
	// Goroutines that outlive the transaction publish: every event is delivered or
	// refused, and none is lost silently.
	const goroutines = 8
	for range 50 {
		bus := tidings.New()
		delivered := 0
		tidings.Subscribe(bus, func(context.Context, txtest.Event) error { delivered++; return nil })
		tidings.Subscribe(bus, func(context.Context, txtest.Event) error { return nil }, tidings.BeforeCommit)
		var wg sync.WaitGroup
		accepted := make([]int, goroutines)
		require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
			for g := range goroutines {
				wg.Go(func() {
					for {
						switch err := tidings.Publish(ctx, bus, txtest.Event{}); {
						case errors.Is(err, tidings.ErrTxDone):
							return
						case err != nil:
							t.Error(err)
							return
						}
						accepted[g]++
						runtime.Gosched()
					}
				})
			}
			runtime.Gosched()
			return nil
		}))
		wg.Wait()
		sum := 0
		for _, n := range accepted {
			sum += n
		}
		require.Equal(t, sum, delivered)
	}
}
