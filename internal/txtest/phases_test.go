package txtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

// allPhases in the order in which they run.
var allPhases = []tidings.Phase{tidings.InTransaction, tidings.BeforeCommit, tidings.AfterCommit, tidings.AfterRollback}

func TestPhasesHaveNames(t *testing.T) {
	t.Parallel()
	for phase, name := range map[tidings.Phase]string{
		tidings.AfterCommit: "AfterCommit", tidings.InTransaction: "InTransaction",
		tidings.BeforeCommit: "BeforeCommit", tidings.AfterRollback: "AfterRollback", 9: "Phase(9)",
	} {
		require.Equal(t, name, fmt.Sprint(phase))
	}
	require.Zero(t, tidings.AfterCommit, "the default")
}

func TestPhasesOutsideATransaction(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	r.MustPublish(t.Context(), t, 1, 2)
	require.Equal(t, "I1 B1 C1 I2 B2 C2", r.Log())
}

func TestPhasesInATransaction(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1)
		r.Note("between")
		r.MustPublish(ctx, t, 2)
		r.Note("end of body")
		return nil
	}))
	require.Equal(t, "begin I1 between I2 end of body B1 B2 commit C1 C2", r.Log())
}

func TestDefaultPhase(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	tidings.Subscribe(r.Bus, func(_ context.Context, e txtest.Event) error { r.Note("C%d", e.N); return nil })
	require.Equal(t, tidings.AfterCommit, r.Bus.Subscriptions()[0].Phase)
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error { return r.Publish(ctx, 1) }))
	require.Equal(t, "begin commit C1", r.Log())
}

// Two handlers a phase, the first of which fails in one of them.
func TestPhaseFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fails   tidings.Phase
		outside string // the log of a publish without a transaction
		inside  string // the same in a transaction that returns what Publish does
		returns bool   // Transact returns the failure, as Publish does outside
	}{
		{tidings.InTransaction, "i1 r1 R1", "begin i1 rollback r1 R1", true},
		{tidings.BeforeCommit, "i1 I1 b1 r1 R1", "begin i1 I1 b1 rollback r1 R1", true},
		{tidings.AfterCommit, "i1 I1 b1 B1 c1 C1", "begin i1 I1 b1 B1 commit c1 C1", false},
	} {
		for _, tt := range []struct {
			name string
			fail func()
		}{{"error", nil}, {"panic", func() { panic(txtest.ErrTx) }}} {
			t.Run(fmt.Sprintf("%v by %s", c.fails, tt.name), func(t *testing.T) {
				t.Parallel()
				r := txtest.NewRig()
				words := []string{"c", "i", "b", "r"} // by Phase
				for _, phase := range allPhases {
					r.On(phase, words[phase], func(context.Context, txtest.Event) error {
						if phase != c.fails {
							return nil
						}
						if tt.fail != nil {
							tt.fail()
						}
						return txtest.ErrTx
					}, tidings.Named("first in "+phase.String()))
					r.On(phase, strings.ToUpper(words[phase]), nil)
				}
				check := func(err error) {
					t.Helper()
					require.ErrorIs(t, err, txtest.ErrTx)
					var failed *tidings.HandlerError
					require.ErrorAs(t, err, &failed)
					require.Equal(t, "first in "+c.fails.String(), failed.Handler)
					require.Equal(t, 1, failed.Event.(txtest.Event).N)
					var panicked *tidings.PanicError
					require.Equal(t, tt.fail != nil, errors.As(err, &panicked))
				}

				check(r.Publish(t.Context(), 1))
				require.Equal(t, c.outside, r.Log())
				require.Empty(t, r.Reported(), "no commit stands between: the publisher has the error")

				err := r.Transact(t.Context(), func(ctx context.Context) error {
					err := r.Publish(ctx, 1)
					require.Equal(t, c.fails == tidings.InTransaction, err != nil)
					return err
				})
				require.Equal(t, c.inside, strings.TrimSuffix(r.Log(), " !"))
				if c.returns {
					check(err)
					require.Empty(t, r.Reported())
				} else {
					require.NoError(t, err)
					failures := r.Reported()
					require.Len(t, failures, 1)
					check(failures[0])
				}
			})
		}
	}
}

// Publish returns one join of the handlers' failures, in whichever phases they failed.
func TestPublishJoinsTheErrorsOfAllPhases(t *testing.T) {
	t.Parallel()
	handlers := func(err error) (names []string) {
		joined, ok := err.(interface{ Unwrap() []error })
		require.True(t, ok, "%T", err)
		for _, err := range joined.Unwrap() {
			failed, ok := err.(*tidings.HandlerError)
			require.True(t, ok, "%T", err)
			names = append(names, failed.Handler)
		}
		return names
	}
	r := txtest.NewRig()
	first := r.On(tidings.AfterCommit, "", txtest.Fail, tidings.Named("first after"))
	r.On(tidings.AfterCommit, "", txtest.Fail, tidings.Named("second after"))
	r.On(tidings.AfterRollback, "", txtest.Fail, tidings.Named("first rollback"))
	r.On(tidings.AfterRollback, "", txtest.Fail, tidings.Named("second rollback"))
	require.Equal(t, []string{"first after", "second after"}, handlers(r.Publish(t.Context(), 1)))

	harmless := r.On(tidings.BeforeCommit, "", nil)
	require.Equal(t, []string{"first after", "second after"}, handlers(r.Publish(t.Context(), 1)))
	harmless.Unsubscribe()
	first.Unsubscribe()

	r.On(tidings.BeforeCommit, "", txtest.Fail, tidings.Named("first before"))
	r.On(tidings.BeforeCommit, "", txtest.Fail, tidings.Named("second before"))
	require.Equal(t, []string{"first before", "first rollback", "second rollback"}, handlers(r.Publish(t.Context(), 1)))

	r.On(tidings.InTransaction, "", txtest.Fail, tidings.Named("first in"))
	r.On(tidings.InTransaction, "", txtest.Fail, tidings.Named("second in"))
	require.Equal(t, []string{"first in", "first rollback", "second rollback"}, handlers(r.Publish(t.Context(), 1)))
}

func TestEventStaysQueuedWhenAnInTransactionHandlerFails(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	r.On(tidings.InTransaction, "J", txtest.Fail)
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		require.ErrorIs(t, r.Publish(ctx, 1), txtest.ErrTx)
		return nil // the caller does not mind
	}))
	require.Equal(t, "begin I1 J1 B1 commit C1", r.Log())
	require.ErrorIs(t, r.Transact(t.Context(), func(ctx context.Context) error { return r.Publish(ctx, 2) }), txtest.ErrTx)
	require.Equal(t, "begin I2 J2 rollback R2", r.Log(), "the caller rolls back by returning the error")
}

func TestBeforeCommitStopsAtTheFirstFailureOfTheTransaction(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.BeforeCommit, "B", func(_ context.Context, e txtest.Event) error {
		if e.N == 2 {
			return txtest.ErrTx
		}
		return nil
	})
	r.On(tidings.AfterRollback, "R", nil)
	require.ErrorIs(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1, 2, 3)
		return nil
	}), txtest.ErrTx)
	require.Equal(t, "begin B1 B2 rollback R1 R2 R3", r.Log())
}

func TestBeforeCommitRunsBeforeTheOutermostCommitAlone(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.BeforeCommit, "B", txtest.Fail)
	require.ErrorIs(t, r.Transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, r.Transact(ctx, func(ctx context.Context) error { return r.Publish(ctx, 1) }),
			"an inner scope that succeeds is none of its business")
		return nil
	}), txtest.ErrTx)
	require.Equal(t, "begin save release B1 rollback", r.Log())
}

func TestPublishInsideHandlersOfATransaction(t *testing.T) {
	t.Parallel()
	// Each handler of 1 publishes another event.
	next := map[tidings.Phase]int{tidings.InTransaction: 2, tidings.BeforeCommit: 3, tidings.AfterCommit: 4, tidings.AfterRollback: 5}
	build := func() *txtest.Rig {
		r := txtest.NewRig()
		for phase, word := range map[tidings.Phase]string{tidings.InTransaction: "I", tidings.BeforeCommit: "B", tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
			r.On(phase, word, func(ctx context.Context, e txtest.Event) error {
				if e.N == 1 {
					return r.Publish(ctx, next[phase])
				}
				return nil
			})
		}
		return r
	}
	const (
		committed  = "I1 I2 B1 I3 B2 B3 commit C1 I4 B4 C4 C2 C3"
		rolledBack = "I1 I2 rollback R1 I5 B5 C5 R2"
	)
	r := build()
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error { return r.Publish(ctx, 1) }))
	require.Equal(t, "begin "+committed, r.Log())

	require.ErrorIs(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1)
		return txtest.ErrTx
	}), txtest.ErrTx)
	require.Equal(t, "begin "+rolledBack, r.Log())

	r.MustPublish(t.Context(), t, 1)
	require.Equal(t, strings.Replace(committed, "commit ", "", 1), r.Log(), "the same order wherever it is called from")
}

func TestBeforeCommitPublishesWithinTheDepthBound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		inTx bool
	}{{"in a transaction", true}, {"outside", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig(tidings.WithMaxDepth(4))
			r.On(tidings.BeforeCommit, "B", func(ctx context.Context, e txtest.Event) error { return r.Publish(ctx, e.N+1) })
			r.On(tidings.AfterCommit, "C", nil)
			r.On(tidings.AfterRollback, "R", nil)
			var err error
			if tt.inTx {
				err = r.Transact(t.Context(), func(ctx context.Context) error { return r.Publish(ctx, 1) })
				require.Equal(t, "begin B1 B2 B3 B4 rollback R1 R2 R3 R4", r.Log())
			} else {
				err = r.Publish(t.Context(), 1)
				require.Equal(t, "B1 B2 B3 B4 R1 R2 R3 R4", r.Log())
			}
			require.ErrorIs(t, err, tidings.ErrMaxDepth)
			require.ErrorContains(t, err, strings.Repeat("txtest.Event > ", 4)+"txtest.Event", "the chain")
		})
	}
}

func TestDepthBoundInEveryPhase(t *testing.T) {
	t.Parallel()
	for _, phase := range allPhases {
		for _, tt := range []struct {
			name string
			tx   bool
		}{{"publishing", false}, {"in transactions of their own", true}} {
			t.Run(fmt.Sprintf("%v, %s", phase, tt.name), func(t *testing.T) {
				t.Parallel()
				const limit = 7
				r := txtest.NewRig(tidings.WithMaxDepth(limit))
				deepest, refused := 0, error(nil)
				publish := func(ctx context.Context, n int) error {
					send := func(ctx context.Context) error {
						err := r.Publish(ctx, n)
						if errors.Is(err, tidings.ErrMaxDepth) && refused == nil {
							refused = err
						}
						if phase == tidings.AfterRollback {
							return errors.Join(err, txtest.ErrTx)
						}
						return err
					}
					if tt.tx || phase == tidings.AfterRollback { // which only a transaction that fails has
						return tidings.Transact(ctx, txtest.Bare, send)
					}
					return send(ctx)
				}
				r.On(phase, "", func(ctx context.Context, e txtest.Event) error {
					deepest = max(deepest, e.N)
					return publish(ctx, e.N+1)
				})
				_ = publish(t.Context(), 1)
				require.Equal(t, limit, deepest)
				require.ErrorIs(t, refused, tidings.ErrMaxDepth)
				require.ErrorContains(t, refused, "Event > txtest.Event")
			})
		}
	}
}

func TestInterfaceHandlersInPhases(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	for i, phase := range slices.Backward(allPhases) {
		r.On(phase, fmt.Sprintf("%d", i), nil)
		tidings.Subscribe(r.Bus, func(context.Context, tidings.Event) error { r.Note("any%d", i); return nil }, phase)
		r.On(phase, fmt.Sprintf("%d", i), nil)
	}
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		return tidings.Publish[tidings.Event](ctx, r.Bus, txtest.Event{})
	}))
	require.Equal(t, "begin 00 any0 00 10 any1 10 commit 20 any2 20", r.Log())
	require.Error(t, r.Transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(r.Publish(ctx, 0), txtest.ErrTx)
	}))
	require.Equal(t, "begin 00 any0 00 rollback 30 any3 30", r.Log())
}
