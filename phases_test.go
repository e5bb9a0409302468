package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/fakedb"
)

// allPhases in the order in which they run.
var allPhases = []tidings.Phase{tidings.InTransaction, tidings.BeforeCommit, tidings.AfterCommit, tidings.AfterRollback}

func TestPhasesOutsideATransaction(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	r.mustPublish(t.Context(), t, 1, 2)
	require.Equal(t, "I1 B1 C1 I2 B2 C2", r.log())
}

func TestPhasesInATransaction(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1)
		r.note("between")
		r.mustPublish(ctx, t, 2)
		r.note("end of body")
		return nil
	}))
	require.Equal(t, "begin I1 between I2 end of body B1 B2 commit C1 C2", r.log())
}

func TestDefaultPhase(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	tidings.Subscribe(r.bus, func(_ context.Context, e txEvent) error { r.note("C%d", e.N); return nil })
	require.Equal(t, tidings.AfterCommit, r.bus.Subscriptions()[0].Phase)
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error { return r.publish(ctx, 1) }))
	require.Equal(t, "begin commit C1", r.log())
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
		for how, fail := range map[string]func(){"error": nil, "panic": func() { panic(errTx) }} {
			t.Run(fmt.Sprintf("%v by %s", c.fails, how), func(t *testing.T) {
				t.Parallel()
				r := newTxRig()
				words := []string{"c", "i", "b", "r"} // by Phase
				for _, phase := range allPhases {
					r.on(phase, words[phase], func(context.Context, txEvent) error {
						if phase != c.fails {
							return nil
						}
						if fail != nil {
							fail()
						}
						return errTx
					}, tidings.Named("first in "+phase.String()))
					r.on(phase, strings.ToUpper(words[phase]), nil)
				}
				check := func(err error) {
					t.Helper()
					require.ErrorIs(t, err, errTx)
					var failed *tidings.HandlerError
					require.ErrorAs(t, err, &failed)
					require.Equal(t, "first in "+c.fails.String(), failed.Handler)
					require.Equal(t, 1, failed.Event.(txEvent).N)
					var panicked *tidings.PanicError
					require.Equal(t, fail != nil, errors.As(err, &panicked))
				}

				check(r.publish(t.Context(), 1))
				require.Equal(t, c.outside, r.log())
				require.Empty(t, r.reported(), "no commit stands between: the publisher has the error")

				err := r.transact(t.Context(), func(ctx context.Context) error {
					err := r.publish(ctx, 1)
					require.Equal(t, c.fails == tidings.InTransaction, err != nil)
					return err
				})
				require.Equal(t, c.inside, strings.TrimSuffix(r.log(), " !"))
				if c.returns {
					check(err)
					require.Empty(t, r.reported())
				} else {
					require.NoError(t, err)
					failures := r.reported()
					require.Len(t, failures, 1)
					check(failures[0])
				}
			})
		}
	}
}

// What Publish returns is one join of the handlers' failures, whatever the
// phases are.
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
	r := newTxRig()
	first := r.on(tidings.AfterCommit, "", txFail, tidings.Named("first after"))
	r.on(tidings.AfterCommit, "", txFail, tidings.Named("second after"))
	r.on(tidings.AfterRollback, "", txFail, tidings.Named("first rollback"))
	r.on(tidings.AfterRollback, "", txFail, tidings.Named("second rollback"))
	require.Equal(t, []string{"first after", "second after"}, handlers(r.publish(t.Context(), 1)))

	harmless := r.on(tidings.BeforeCommit, "", nil)
	require.Equal(t, []string{"first after", "second after"}, handlers(r.publish(t.Context(), 1)))
	harmless.Unsubscribe()
	first.Unsubscribe()

	r.on(tidings.BeforeCommit, "", txFail, tidings.Named("first before"))
	r.on(tidings.BeforeCommit, "", txFail, tidings.Named("second before"))
	require.Equal(t, []string{"first before", "first rollback", "second rollback"}, handlers(r.publish(t.Context(), 1)))

	r.on(tidings.InTransaction, "", txFail, tidings.Named("first in"))
	r.on(tidings.InTransaction, "", txFail, tidings.Named("second in"))
	require.Equal(t, []string{"first in", "first rollback", "second rollback"}, handlers(r.publish(t.Context(), 1)))
}

func TestEventStaysQueuedWhenAnInTransactionHandlerFails(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	r.on(tidings.InTransaction, "J", txFail)
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		require.ErrorIs(t, r.publish(ctx, 1), errTx)
		return nil // the caller does not mind
	}))
	require.Equal(t, "begin I1 J1 B1 commit C1", r.log())
	require.ErrorIs(t, r.transact(t.Context(), func(ctx context.Context) error { return r.publish(ctx, 2) }), errTx)
	require.Equal(t, "begin I2 J2 rollback R2", r.log(), "the caller rolls back by returning the error")
}

func TestBeforeCommitStopsAtTheFirstFailureOfTheTransaction(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.BeforeCommit, "B", func(_ context.Context, e txEvent) error {
		if e.N == 2 {
			return errTx
		}
		return nil
	})
	r.on(tidings.AfterRollback, "R", nil)
	require.ErrorIs(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1, 2, 3)
		return nil
	}), errTx)
	require.Equal(t, "begin B1 B2 rollback R1 R2 R3", r.log())
}

func TestBeforeCommitRunsBeforeTheOutermostCommitAlone(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	r.on(tidings.BeforeCommit, "B", txFail)
	require.ErrorIs(t, r.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, r.transact(ctx, func(ctx context.Context) error { return r.publish(ctx, 1) }),
			"an inner scope that succeeds is none of its business")
		return nil
	}), errTx)
	require.Equal(t, "begin save release B1 rollback", r.log())
}

func TestPublishInsideHandlersOfATransaction(t *testing.T) {
	t.Parallel()
	// Each handler of 1 publishes another event.
	next := map[tidings.Phase]int{tidings.InTransaction: 2, tidings.BeforeCommit: 3, tidings.AfterCommit: 4, tidings.AfterRollback: 5}
	build := func() *txRig {
		r := newTxRig()
		for phase, word := range map[tidings.Phase]string{tidings.InTransaction: "I", tidings.BeforeCommit: "B", tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
			r.on(phase, word, func(ctx context.Context, e txEvent) error {
				if e.N == 1 {
					return r.publish(ctx, next[phase])
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
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error { return r.publish(ctx, 1) }))
	require.Equal(t, "begin "+committed, r.log())

	require.ErrorIs(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1)
		return errTx
	}), errTx)
	require.Equal(t, "begin "+rolledBack, r.log())

	r.mustPublish(t.Context(), t, 1)
	require.Equal(t, strings.Replace(committed, "commit ", "", 1), r.log(), "the same order wherever it is called from")
}

func TestBeforeCommitPublishesWithinTheDepthBound(t *testing.T) {
	t.Parallel()
	for name, inTx := range map[string]bool{"in a transaction": true, "outside": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig(tidings.WithMaxDepth(4))
			r.on(tidings.BeforeCommit, "B", func(ctx context.Context, e txEvent) error { return r.publish(ctx, e.N+1) })
			r.on(tidings.AfterCommit, "C", nil)
			r.on(tidings.AfterRollback, "R", nil)
			var err error
			if inTx {
				err = r.transact(t.Context(), func(ctx context.Context) error { return r.publish(ctx, 1) })
				require.Equal(t, "begin B1 B2 B3 B4 rollback R1 R2 R3 R4", r.log())
			} else {
				err = r.publish(t.Context(), 1)
				require.Equal(t, "B1 B2 B3 B4 R1 R2 R3 R4", r.log())
			}
			require.ErrorIs(t, err, tidings.ErrMaxDepth)
			require.ErrorContains(t, err, strings.Repeat("tidings_test.txEvent > ", 4)+"tidings_test.txEvent", "the chain")
		})
	}
}

func TestDepthBoundInEveryPhase(t *testing.T) {
	t.Parallel()
	for _, phase := range allPhases {
		for name, tx := range map[string]bool{"publishing": false, "in transactions of their own": true} {
			t.Run(fmt.Sprintf("%v, %s", phase, name), func(t *testing.T) {
				t.Parallel()
				const limit = 7
				r := newTxRig(tidings.WithMaxDepth(limit))
				deepest, refused := 0, error(nil)
				publish := func(ctx context.Context, n int) error {
					send := func(ctx context.Context) error {
						err := r.publish(ctx, n)
						if errors.Is(err, tidings.ErrMaxDepth) && refused == nil {
							refused = err
						}
						if phase == tidings.AfterRollback {
							return errors.Join(err, errTx)
						}
						return err
					}
					if tx || phase == tidings.AfterRollback { // which only a transaction that fails has
						return tidings.Transact(ctx, bare, send)
					}
					return send(ctx)
				}
				r.on(phase, "", func(ctx context.Context, e txEvent) error {
					deepest = max(deepest, e.N)
					return publish(ctx, e.N+1)
				})
				_ = publish(t.Context(), 1)
				require.Equal(t, limit, deepest)
				require.ErrorIs(t, refused, tidings.ErrMaxDepth)
				require.ErrorContains(t, refused, "txEvent > tidings_test.txEvent")
			})
		}
	}
}

func TestHandlerContextByPhase(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	key := new(int)
	for _, phase := range allPhases {
		r.on(phase, "", func(ctx context.Context, e txEvent) error {
			handle, inTx := tidings.TxFrom[txHandle](ctx)
			r.note("%v value=%v tx=%v%s err=%v", phase, ctx.Value(key), inTx, handle.name, ctx.Err())
			event, ok := tidings.EventFrom(ctx)
			require.True(t, ok)
			require.Equal(t, e, event)
			return nil
		})
	}
	outside, cancel := context.WithCancel(context.WithValue(t.Context(), key, "outside"))
	require.NoError(t, tidings.Transact(outside, func(ctx context.Context, body func(context.Context) error) error {
		err := r.run(ctx, body)
		cancel() // the client hangs up between commit and delivery
		return err
	}, func(ctx context.Context) error {
		ctx = context.WithValue(ctx, key, "inside")
		r.mustPublish(ctx, t, 1)
		return nil
	}))
	require.Equal(t, strings.Join([]string{
		"begin",
		"1 InTransaction value=inside tx=trueof begin err=<nil>",
		"1 BeforeCommit value=outside tx=trueof begin err=<nil>",
		"commit",
		"1 AfterCommit value=outside tx=false err=<nil>",
	}, " "), r.log())
	require.Empty(t, r.reported())

	outside, cancel = context.WithCancel(context.WithValue(t.Context(), key, "outside"))
	require.ErrorIs(t, r.transact(outside, func(ctx context.Context) error {
		return r.transact(ctx, func(ctx context.Context) error {
			r.mustPublish(context.WithValue(ctx, key, "inside"), t, 2)
			cancel()
			return ctx.Err()
		})
	}), context.Canceled)
	require.Equal(t, strings.Join([]string{
		"begin save",
		"2 InTransaction value=inside tx=trueof save err=<nil>",
		"back rollback",
		"2 AfterRollback value=outside tx=false err=<nil>",
	}, " "), r.log())
	require.Empty(t, r.reported())
}

func TestCancelledContexts(t *testing.T) {
	t.Parallel()
	t.Run("before the publish", func(t *testing.T) {
		t.Parallel()
		r := newTxRig().phases()
		require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			require.Equal(t, context.Canceled, r.publish(cancelled, 1))
			return nil
		}))
		require.Equal(t, "begin commit", r.log(), "not delivered in any phase")
	})
	t.Run("by an InTransaction handler", func(t *testing.T) {
		t.Parallel()
		r := newTxRig()
		ctx, cancel := context.WithCancel(t.Context())
		r.on(tidings.InTransaction, "I", func(context.Context, txEvent) error { cancel(); return nil })
		r.on(tidings.InTransaction, "J", nil)
		r.on(tidings.BeforeCommit, "B", nil)
		r.on(tidings.AfterCommit, "C", nil)
		err := r.transact(ctx, func(ctx context.Context) error { return r.publish(ctx, 1) })
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "1 of 2 handlers of tidings_test.txEvent skipped")
		require.Equal(t, "begin I1 rollback", r.log())
	})
	t.Run("before the BeforeCommit handlers", func(t *testing.T) {
		t.Parallel()
		r := newTxRig().phases()
		ctx, cancel := context.WithCancel(t.Context())
		err := r.transact(ctx, func(ctx context.Context) error {
			defer cancel()
			return r.publish(ctx, 1)
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, "begin I1 rollback R1", r.log(), "a handler that did not run must not be missed by a commit")
	})
	t.Run("outside a transaction", func(t *testing.T) {
		t.Parallel()
		r := newTxRig()
		ctx, cancel := context.WithCancel(t.Context())
		r.on(tidings.InTransaction, "I", func(context.Context, txEvent) error { cancel(); return nil })
		r.on(tidings.BeforeCommit, "B", nil)
		r.on(tidings.AfterRollback, "R", func(ctx context.Context, _ txEvent) error { return ctx.Err() })
		require.ErrorIs(t, r.publish(ctx, 1), context.Canceled)
		require.Equal(t, "I1 R1", r.log(), "what the cancellation ended is undone")
	})
	t.Run("by an AfterCommit handler", func(t *testing.T) {
		t.Parallel()
		r := newTxRig()
		ctx, cancel := context.WithCancel(t.Context())
		r.on(tidings.AfterCommit, "C", func(context.Context, txEvent) error { cancel(); return nil })
		r.on(tidings.AfterCommit, "D", nil)
		require.NoError(t, r.transact(ctx, func(ctx context.Context) error {
			r.mustPublish(ctx, t, 1, 2)
			return nil
		}))
		require.Equal(t, "begin commit C1 D1 C2 D2", r.log(), "committed is delivered")
		require.Empty(t, r.reported())
	})
}

func TestImplicitTransaction(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fails tidings.Phase // of the second handler for event 1
		log   string
	}{
		// Whatever a handler of 1 publishes is delivered or dropped with 1.
		"InTransaction fails": {tidings.InTransaction, "I1 I2 J1 R1 R2"},
		"BeforeCommit fails":  {tidings.BeforeCommit, "I1 I2 J1 D1 R1 R2"},
		"AfterCommit fails":   {tidings.AfterCommit, "I1 I2 J1 D1 C1 E1 C2"},
		"AfterRollback":       {tidings.AfterRollback, "I1 I2 J1 D1 C1 E1 C2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig()
			on1 := func(phase tidings.Phase, word string) {
				r.on(phase, word, func(_ context.Context, e txEvent) error {
					if phase == c.fails {
						return errTx
					}
					return nil
				})
			}
			r.on(tidings.InTransaction, "I", func(ctx context.Context, e txEvent) error {
				if e.N == 1 {
					return tidings.Publish(ctx, r.bus, txOther{N: 2})
				}
				return nil
			})
			on1(tidings.InTransaction, "J")
			on1(tidings.BeforeCommit, "D")
			r.on(tidings.AfterCommit, "C", nil)
			on1(tidings.AfterCommit, "E")
			r.on(tidings.AfterRollback, "R", nil)
			for phase, word := range map[tidings.Phase]string{tidings.InTransaction: "I", tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
				tidings.Subscribe(r.bus, func(_ context.Context, e txOther) error { r.note("%s%d", word, e.N); return nil }, phase)
			}
			err := r.publish(t.Context(), 1)
			if c.fails == tidings.AfterRollback {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, errTx)
			}
			require.Equal(t, c.log, r.log())
		})
	}
}

func TestImplicitTransactionReturnsAllFailures(t *testing.T) {
	t.Parallel()
	// An event that an InTransaction handler publishes is delivered with
	// the first one, and so are its failures.
	r := newTxRig()
	r.on(tidings.InTransaction, "I", func(ctx context.Context, e txEvent) error {
		return tidings.Publish(ctx, r.bus, txOther{})
	})
	r.on(tidings.AfterCommit, "C", txFail)
	tidings.Subscribe(r.bus, func(context.Context, txOther) error { return io.ErrClosedPipe })
	err := r.publish(t.Context(), 1)
	require.ErrorIs(t, err, errTx)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Empty(t, r.reported())
}

func TestImplicitTransactionIsNoTransaction(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	var kept context.Context
	r.on(tidings.InTransaction, "I", func(ctx context.Context, e txEvent) error {
		_, inTx := tidings.TxFrom[txHandle](ctx)
		require.False(t, inTx)
		if e.N == 1 {
			kept = ctx
			// Begins one, which commits whatever becomes of the event.
			return errors.Join(r.transact(ctx, func(ctx context.Context) error {
				return tidings.Publish(ctx, r.bus, txOther{N: 2})
			}), errTx)
		}
		return nil
	})
	tidings.Subscribe(r.bus, func(_ context.Context, e txOther) error { r.note("C%d", e.N); return nil })
	r.on(tidings.AfterRollback, "R", nil)
	require.ErrorIs(t, r.publish(t.Context(), 1), errTx)
	require.Equal(t, "I1 begin commit C2 R1", r.log())
	require.ErrorIs(t, r.publish(kept, 3), tidings.ErrTxDone, "what is published with it now would be lost")
}

func TestInterfaceHandlersInPhases(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	for i, phase := range slices.Backward(allPhases) {
		r.on(phase, fmt.Sprintf("%d", i), nil)
		tidings.Subscribe(r.bus, func(context.Context, tidings.Event) error { r.note("any%d", i); return nil }, phase)
		r.on(phase, fmt.Sprintf("%d", i), nil)
	}
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		return tidings.Publish[tidings.Event](ctx, r.bus, txEvent{})
	}))
	require.Equal(t, "begin 00 any0 00 10 any1 10 commit 20 any2 20", r.log())
	require.Error(t, r.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(r.publish(ctx, 0), errTx)
	}))
	require.Equal(t, "begin 00 any0 00 rollback 30 any3 30", r.log())
}

func TestCorrelationThroughTransactions(t *testing.T) {
	t.Parallel()
	workflow := uuid.New()
	bus := tidings.New()
	effects := map[tidings.Phase]tidings.Event{}
	var cause tidings.Event
	for _, phase := range allPhases {
		tidings.Subscribe(bus, func(ctx context.Context, e txEvent) error {
			cause = e
			return tidings.Publish(ctx, bus, txOther{N: int(phase)})
		}, phase)
		// A sibling, which publishes nothing.
		tidings.Subscribe(bus, func(context.Context, txEvent) error { return nil }, phase)
	}
	tidings.Subscribe(bus, func(_ context.Context, e txOther) error { effects[tidings.Phase(e.N)] = e; return nil })
	publish := func(ctx context.Context) error { return tidings.Publish(ctx, bus, txEvent{}) }

	ctx := tidings.WithCorrelationID(t.Context(), workflow)
	require.NoError(t, tidings.Transact(ctx, bare, publish))
	require.Len(t, effects, 3)
	require.Equal(t, workflow, cause.CorrelationID())
	for phase, e := range effects {
		require.Equal(t, workflow, e.CorrelationID(), phase)
		require.Equal(t, cause.EventID(), e.CausationID(), phase)
	}

	// The correlation of the place where it was published counts, not that
	// of the transaction.
	clear(effects)
	require.Error(t, tidings.Transact(t.Context(), bare, func(ctx context.Context) error {
		return errors.Join(publish(tidings.WithCorrelationID(ctx, workflow)), errTx)
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
		tidings.Subscribe(bus, func(_ context.Context, e txEvent) error { seen = append(seen, e); return nil }, phase)
	}
	stamped := tidings.Stamp(t.Context(), txEvent{N: 2})
	var before, after tidings.Event
	require.NoError(t, tidings.Transact(t.Context(), bare, func(ctx context.Context) error {
		before = tidings.Stamp(ctx, txOther{})
		require.NoError(t, tidings.Publish(ctx, bus, txEvent{N: 1}))
		after = tidings.Stamp(ctx, txOther{})
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
	require.NoError(t, tidings.Transact(t.Context(), bare, func(ctx context.Context) error {
		items := []int{1, 2}
		require.NoError(t, tidings.Publish(ctx, bus, txCart{Items: items}))
		items[0] = 8 // the publisher goes on with its own
		return nil
	}))
	require.Equal(t, [][]int{{1, 2}, {1, 2}, {1, 2}}, seen)
}

func TestSubscribeBetweenPublishAndCommit(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1)
		r.on(tidings.BeforeCommit, "B", nil)
		r.on(tidings.AfterCommit, "C", nil)
		r.mustPublish(ctx, t, 2)
		r.on(tidings.AfterCommit, "D", nil)
		return nil
	}))
	require.Equal(t, "begin B2 commit C2", r.log(), "from the next event")
}

func TestUnsubscribeBetweenPublishAndCommit(t *testing.T) {
	t.Parallel()
	for _, static := range []bool{true, false} {
		t.Run(fmt.Sprintf("static type: %v", static), func(t *testing.T) {
			t.Parallel()
			r := newTxRig()
			var gone []*tidings.Subscription
			for _, phase := range allPhases {
				for range 2 {
					gone = append(gone, tidings.Subscribe(r.bus, func(context.Context, tidings.Event) error { r.note("gone"); return nil }, phase))
					tidings.Subscribe(r.bus, func(context.Context, tidings.Event) error { r.note("%v", phase); return nil }, phase)
				}
			}
			for _, outcome := range []error{nil, errTx} {
				err := r.transact(t.Context(), func(ctx context.Context) error {
					if static {
						require.NoError(t, tidings.Publish(ctx, r.bus, txOther{}))
					} else { // the type is used statically later on
						require.NoError(t, tidings.Publish[tidings.Event](ctx, r.bus, txOther{}))
						require.NoError(t, tidings.Publish(ctx, tidings.New(), txOther{}))
					}
					for _, sub := range gone {
						sub.Unsubscribe()
					}
					r.log()
					return outcome
				})
				require.ErrorIs(t, err, outcome)
				if outcome == nil {
					require.Equal(t, "BeforeCommit BeforeCommit commit AfterCommit AfterCommit", r.log())
				} else {
					require.Equal(t, "rollback AfterRollback AfterRollback", r.log())
				}
			}
		})
	}
}

// The registry of a type that was seen behind an interface alone gives way
// to another once the type is used statically; what is queued must not miss
// the Unsubscribe.
func TestUnsubscribeAfterTheRegistryWasReplaced(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	sub := tidings.Subscribe(r.bus, func(context.Context, tidings.Event) error { r.note("gone"); return nil })
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.Publish[tidings.Event](ctx, r.bus, txOther{}))
		require.NoError(t, tidings.Publish(ctx, r.bus, txOther{}))
		sub.Unsubscribe()
		return nil
	}))
	require.Equal(t, "begin commit", r.log())
}

func TestUnsubscribeInAHandlerOfTheTransaction(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	var later *tidings.Subscription
	r.on(tidings.AfterCommit, "C", func(_ context.Context, e txEvent) error {
		if e.N == 2 {
			later.Unsubscribe()
		}
		return nil
	})
	later = r.on(tidings.AfterCommit, "L", nil)
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1, 2, 3)
		return nil
	}))
	require.Equal(t, "begin commit C1 L1 C2 L2 C3", r.log(), "the running event finishes its snapshot, those queued behind it do not")
}

func TestOnceInTransactions(t *testing.T) {
	t.Parallel()
	r := newTxRig()
	for _, phase := range allPhases {
		r.on(phase, phase.String(), nil, tidings.Once())
	}
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		require.ErrorIs(t, r.transact(ctx, func(ctx context.Context) error {
			r.mustPublish(ctx, t, 1, 2)
			return errTx
		}), errTx)
		r.mustPublish(ctx, t, 3, 4)
		return nil
	}))
	require.Equal(t, "begin save InTransaction1 back BeforeCommit3 commit AfterRollback1 AfterCommit3", r.log(),
		"the first event that reaches it counts, which one that was dropped does not")
	require.Empty(t, r.bus.Subscriptions())
}

func TestBusClosedBetweenPublishAndCommit(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	tidings.Subscribe(r.bus, func(_ context.Context, e txOther) error { r.note("other%d", e.N); return nil })
	r.on(tidings.AfterCommit, "D", func(ctx context.Context, e txEvent) error {
		return tidings.Publish(ctx, r.bus, txOther{N: e.N})
	})
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1)
		require.NoError(t, r.bus.Close(ctx), "does not wait for open transactions")
		require.ErrorIs(t, r.publish(ctx, 2), tidings.ErrClosed)
		return nil
	}))
	require.Equal(t, "begin I1 B1 commit C1 D1 other1", r.log(), "the work that was accepted is done")
	require.Empty(t, r.reported())
}

func TestTwoBusesInOneTransaction(t *testing.T) {
	t.Parallel()
	r := newTxRig().phases()
	second := &txRig{}
	second.bus = tidings.New(tidings.WithErrorHandler(second.failed))
	for _, phase := range allPhases {
		tidings.Subscribe(second.bus, func(_ context.Context, e txOther) error {
			r.note("%v%d", phase, e.N)
			if phase == tidings.AfterCommit {
				return errTx
			}
			return nil
		}, phase)
	}
	publish := func(ctx context.Context) error {
		r.mustPublish(ctx, t, 1)
		require.NoError(t, tidings.Publish(ctx, second.bus, txOther{N: 2}))
		r.mustPublish(ctx, t, 3)
		return nil
	}
	require.NoError(t, r.transact(t.Context(), publish))
	require.Equal(t, "begin I1 InTransaction2 I3 B1 BeforeCommit2 B3 commit C1 AfterCommit2 C3", r.log())
	require.Empty(t, r.reported())
	require.Len(t, second.reported(), 1, "by its own error handler")

	require.Error(t, r.transact(t.Context(), func(ctx context.Context) error { return errors.Join(publish(ctx), errTx) }))
	require.Equal(t, "begin I1 InTransaction2 I3 rollback R1 AfterRollback2 R3", r.log())
}

func TestGoexitInEveryPhase(t *testing.T) {
	t.Parallel()
	exit := func(phase tidings.Phase) *txRig {
		r := newTxRig().phases()
		r.on(phase, "exit", func(_ context.Context, e txEvent) error {
			if e.N == 1 {
				runtime.Goexit()
			}
			return nil
		}, tidings.Named("exit"))
		r.on(phase, "later", nil)
		return r
	}
	for _, c := range []struct {
		phase   tidings.Phase
		outside string
		inside  string // with two events
	}{
		{tidings.InTransaction, "I1 exit1 R1", "begin I1 exit1 rollback R1"},
		{tidings.BeforeCommit, "I1 B1 exit1 R1", "begin I1 I2 B1 exit1 rollback R1 R2"},
		{tidings.AfterCommit, "I1 B1 C1 exit1 later1", "begin I1 I2 B1 B2 commit C1 exit1 later1 C2 exit2 later2"},
	} {
		t.Run(c.phase.String(), func(t *testing.T) {
			t.Parallel()
			r := exit(c.phase)
			ends := func(fn func()) {
				returned := false
				inGoroutine(func() { fn(); returned = true })
				require.False(t, returned)
			}
			check := func(want string) {
				words := strings.Fields(r.log())
				words = slices.DeleteFunc(words, func(w string) bool { return w == "!" })
				require.Equal(t, want, strings.Join(words, " "))
				failures := r.reported()
				require.Len(t, failures, 1, "nobody else is left to tell")
				var failed *tidings.HandlerError
				require.ErrorAs(t, failures[0], &failed)
				require.Equal(t, "exit", failed.Handler)
				require.ErrorContains(t, failures[0], "Goexit")
			}
			ends(func() { _ = r.publish(t.Context(), 1) })
			check(c.outside)
			ends(func() {
				_ = r.transact(t.Context(), func(ctx context.Context) error {
					return errors.Join(r.publish(ctx, 1), r.publish(ctx, 2))
				})
			})
			check(c.inside)
			ends(func() {
				ctx, hook := tidings.Begin(t.Context())
				defer hook.Rollback(ctx)
				r.note("begin")
				if errors.Join(r.publish(ctx, 1), r.publish(ctx, 2), hook.Prepare(ctx)) == nil {
					r.note("commit")
					_ = hook.Commit(ctx)
				}
			})
			check(strings.Replace(c.inside, "rollback ", "", 1))

			require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error { return r.publish(ctx, 3) }))
			require.Empty(t, r.reported(), "the bus is as good as before")
		})
	}
}

func TestGoexitAmongFailures(t *testing.T) {
	t.Parallel()
	// Failures before and after the handler that ends the goroutine are
	// reported as well: TxHook.Commit does not return to tell.
	r := newTxRig()
	r.on(tidings.AfterCommit, "C", func(_ context.Context, e txEvent) error {
		if e.N == 2 || e.N == 4 {
			runtime.Goexit()
		}
		return fmt.Errorf("failure %d", e.N)
	})
	inGoroutine(func() {
		ctx, hook := tidings.Begin(t.Context())
		r.mustPublish(ctx, t, 1, 2, 3, 4, 5)
		_ = hook.Commit(ctx)
		t.Error("Commit returned")
	})
	var events []int
	for _, err := range r.reported() {
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
		events = append(events, failed.Event.(txEvent).N)
	}
	require.ElementsMatch(t, []int{1, 2, 3, 4, 5}, events)
}

func TestFailuresAreReportedWithTheHandlersContext(t *testing.T) {
	t.Parallel()
	transact := func(ctx context.Context, publish func(context.Context) error, end error) {
		_ = tidings.Transact(ctx, bare, func(ctx context.Context) error { return errors.Join(publish(ctx), end) })
	}
	byHand := func(ctx context.Context, publish func(context.Context) error, end error) {
		ctx, hook := tidings.Begin(ctx)
		defer hook.Rollback(ctx)
		if publish(ctx) == nil && end == nil {
			_ = hook.Commit(ctx)
		}
	}
	for name, c := range map[string]struct {
		tx    func(ctx context.Context, publish func(context.Context) error, end error)
		phase tidings.Phase
		fail  func() error
		end   error
	}{
		"error after the commit":            {transact, tidings.AfterCommit, func() error { return errTx }, nil},
		"panic after the commit":            {transact, tidings.AfterCommit, func() error { panic("boom") }, nil},
		"Goexit after the commit":           {transact, tidings.AfterCommit, func() error { runtime.Goexit(); return nil }, nil},
		"error after the rollback":          {transact, tidings.AfterRollback, func() error { return errTx }, errTx},
		"Goexit after the commit, by hand":  {byHand, tidings.AfterCommit, func() error { runtime.Goexit(); return nil }, nil},
		"error after the rollback, by hand": {byHand, tidings.AfterRollback, func() error { return errTx }, errTx},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reports := 0
			var bus *tidings.EventBus
			bus = tidings.New(tidings.WithErrorHandler(func(ctx context.Context, err error) {
				reports++
				e, ok := tidings.EventFrom(ctx)
				require.True(t, ok)
				require.Equal(t, 1, e.(txEvent).N)
				_, inTx := tidings.TxFrom[txHandle](ctx)
				require.False(t, inTx)
				require.NoError(t, ctx.Err())
				require.NoError(t, tidings.Publish(ctx, bus, txOther{}), "an error handler may publish")
			}))
			tidings.Subscribe(bus, func(context.Context, txEvent) error { return c.fail() }, c.phase)
			var effects []tidings.Event
			tidings.Subscribe(bus, func(_ context.Context, e txOther) error { effects = append(effects, e); return nil })
			cause := tidings.Stamp(t.Context(), txEvent{N: 1})
			inGoroutine(func() {
				c.tx(t.Context(), func(ctx context.Context) error {
					return tidings.Publish(tidings.WithTx(ctx, txHandle{}), bus, cause)
				}, c.end)
			})
			require.Equal(t, 1, reports)
			require.Len(t, effects, 1)
			require.Equal(t, cause.EventID(), effects[0].CausationID())
		})
	}
}

// txTransport notes what is sent through it: "send(1@name,other 2@)" with
// the numbers of the events and the names of their handlers.
type txTransport struct {
	*txRig
	phase tidings.Phase
	then  func(ctx context.Context, deliveries []tidings.Outgoing) error
}

func (s *txTransport) Phase() tidings.Phase { return s.phase }

func (s *txTransport) Handle(string, func(context.Context, tidings.Event) error) error { return nil }

func (s *txTransport) Send(ctx context.Context, deliveries []tidings.Outgoing) error {
	var events []string
	for _, d := range deliveries {
		names := strings.Join(d.Handlers, "+")
		switch e := d.Event.(type) {
		case txEvent:
			events = append(events, fmt.Sprintf("%d@%s", e.N, names))
		case txOther:
			events = append(events, fmt.Sprintf("other%d@%s", e.N, names))
		}
	}
	s.note("send(%s)", strings.Join(events, ","))
	if s.then == nil {
		return nil
	}
	return s.then(ctx, deliveries)
}

// via subscribes a handler of that name to txEvent, and lets s run it.
func (s *txTransport) via(name string) *tidings.Subscription {
	return tidings.Subscribe(s.bus, func(context.Context, txEvent) error { return nil }, tidings.Named(name), tidings.Via(s))
}

func newTxTransport(phase tidings.Phase, then func(context.Context, []tidings.Outgoing) error) *txTransport {
	s := &txTransport{newTxRig().phases(), phase, then}
	s.via("a")
	s.via("b")
	return s
}

func TestTransportsInEveryPhase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		phase                 tidings.Phase
		outside, commit, back string
	}{
		{
			tidings.InTransaction, "I1 send(1@a+b) B1 C1",
			"begin I1 send(1@a+b) save I2 send(2@a+b) back I3 send(3@a+b) B1 B3 commit C1 R2 C3",
			"begin I1 send(1@a+b) I2 send(2@a+b) rollback R1 R2",
		}, {
			tidings.BeforeCommit, "I1 B1 send(1@a+b) C1",
			"begin I1 save I2 back I3 B1 B3 send(1@a+b,3@a+b) commit C1 R2 C3",
			"begin I1 I2 rollback R1 R2",
		}, {
			tidings.AfterCommit, "I1 B1 send(1@a+b) C1",
			"begin I1 save I2 back I3 B1 B3 commit send(1@a+b,3@a+b) C1 R2 C3",
			"begin I1 I2 rollback R1 R2",
		},
	} {
		t.Run(c.phase.String(), func(t *testing.T) {
			t.Parallel()
			var inTx bool
			s := newTxTransport(c.phase, func(ctx context.Context, _ []tidings.Outgoing) error {
				_, inTx = tidings.TxFrom[txHandle](ctx)
				return ctx.Err()
			})
			s.mustPublish(t.Context(), t, 1)
			require.Equal(t, c.outside, s.log())
			require.False(t, inTx)

			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, tidings.Transact(ctx, func(ctx context.Context, body func(context.Context) error) error {
				err := s.run(ctx, body)
				cancel() // the client hangs up
				return err
			}, func(ctx context.Context) error {
				s.mustPublish(ctx, t, 1)
				require.ErrorIs(t, s.transact(ctx, func(ctx context.Context) error {
					s.mustPublish(ctx, t, 2)
					return errTx
				}), errTx)
				return s.publish(ctx, 3)
			}))
			require.Equal(t, c.commit, s.log())
			require.Equal(t, c.phase != tidings.AfterCommit, inTx, "joins the transaction, or has none")
			require.Empty(t, s.reported())

			require.Error(t, s.transact(t.Context(), func(ctx context.Context) error {
				s.mustPublish(ctx, t, 1, 2)
				return errTx
			}))
			require.Equal(t, c.back, s.log())
		})
	}
}

func TestTransportFails(t *testing.T) {
	t.Parallel()
	errDown := errors.New("broker is down")
	for _, c := range []struct {
		phase           tidings.Phase
		outside, inside string
		rollsBack       bool
		failed          []int // the events that an error names
	}{
		{tidings.InTransaction, "I1 send(1@a+b) R1", "begin I1 send(1@a+b) rollback R1", true, []int{1}},
		{tidings.BeforeCommit, "I1 B1 send(1@a+b) R1", "begin I1 I2 B1 B2 send(1@a+b,2@a+b) rollback R1 R2", true, []int{1, 2}},
		{tidings.AfterCommit, "I1 B1 send(1@a+b) C1", "begin I1 I2 B1 B2 commit send(1@a+b,2@a+b) C1 C2", false, []int{1, 2}},
	} {
		for how, then := range map[string]func(context.Context, []tidings.Outgoing) error{
			"error":   func(context.Context, []tidings.Outgoing) error { return errDown },
			"wrapped": func(context.Context, []tidings.Outgoing) error { return fmt.Errorf("%w: %w", errDown, io.EOF) },
			"panic":   func(context.Context, []tidings.Outgoing) error { panic(errDown) },
			"by event": func(_ context.Context, deliveries []tidings.Outgoing) error {
				var errs []error
				for _, d := range deliveries {
					errs = append(errs, &tidings.HandlerError{Handler: strings.Join(d.Handlers, ", "), Event: d.Event, Err: errDown})
				}
				return errors.Join(errs...)
			},
		} {
			t.Run(fmt.Sprintf("%v by %s", c.phase, how), func(t *testing.T) {
				t.Parallel()
				s := newTxTransport(c.phase, then)
				check := func(err error) (event int) {
					t.Helper()
					require.ErrorIs(t, err, errDown)
					var failed *tidings.HandlerError
					require.ErrorAs(t, err, &failed)
					require.Equal(t, "a, b", failed.Handler)
					return failed.Event.(txEvent).N
				}
				require.Equal(t, 1, check(s.publish(t.Context(), 1)))
				require.Equal(t, c.outside, s.log())
				require.Empty(t, s.reported())

				err := s.transact(t.Context(), func(ctx context.Context) error {
					if err := s.publish(ctx, 1); err != nil {
						return err
					}
					return s.publish(ctx, 2)
				})
				require.Equal(t, c.inside, strings.ReplaceAll(s.log(), "! ", ""))
				failures := s.reported()
				if c.rollsBack {
					check(err)
					require.Empty(t, failures)
					failures = err.(interface{ Unwrap() []error }).Unwrap()
				} else {
					require.NoError(t, err)
				}
				var events []int
				for _, err := range failures {
					events = append(events, check(err))
				}
				require.Equal(t, c.failed, events, "for every event")
			})
		}
	}
}

func TestTransportAcceptsSome(t *testing.T) {
	t.Parallel()
	s := newTxTransport(tidings.AfterCommit, func(_ context.Context, deliveries []tidings.Outgoing) error {
		return &tidings.HandlerError{Handler: "b", Event: deliveries[1].Event, Err: errTx}
	})
	require.NoError(t, s.transact(t.Context(), func(ctx context.Context) error {
		s.mustPublish(ctx, t, 1, 2, 3)
		return nil
	}))
	failures := s.reported()
	require.Len(t, failures, 1)
	var failed *tidings.HandlerError
	require.ErrorAs(t, failures[0], &failed)
	require.Equal(t, 2, failed.Event.(txEvent).N)
}

func TestBeforeCommitTransportGetsWhatHandlersPublish(t *testing.T) {
	t.Parallel()
	s := newTxTransport(tidings.BeforeCommit, nil)
	s.on(tidings.BeforeCommit, "P", func(ctx context.Context, e txEvent) error {
		if e.N == 1 {
			return s.publish(ctx, 3)
		}
		return nil
	})
	require.NoError(t, s.transact(t.Context(), func(ctx context.Context) error {
		s.mustPublish(ctx, t, 1, 2)
		return nil
	}))
	require.Equal(t, "begin I1 I2 B1 P1 I3 B2 P2 B3 P3 send(1@a+b,2@a+b,3@a+b) commit C1 C2 C3", s.log())
}

func TestBeforeCommitTransportPublishes(t *testing.T) {
	t.Parallel()
	// An outbox may say that it took something; that is part of the
	// transaction too.
	s := newTxTransport(tidings.BeforeCommit, nil)
	s.then = func(ctx context.Context, deliveries []tidings.Outgoing) error {
		if deliveries[0].Event.(txEvent).N == 1 {
			return s.publish(ctx, 2)
		}
		return nil
	}
	require.NoError(t, s.transact(t.Context(), func(ctx context.Context) error { return s.publish(ctx, 1) }))
	require.Equal(t, "begin I1 B1 send(1@a+b) I2 B2 send(2@a+b) commit C1 C2", s.log())
}

func TestSeveralTransports(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("the first fails: %v", fails), func(t *testing.T) {
			t.Parallel()
			first := newTxTransport(tidings.BeforeCommit, func(context.Context, []tidings.Outgoing) error {
				if fails {
					return errTx
				}
				return nil
			})
			second := &txTransport{first.txRig, tidings.BeforeCommit, nil}
			second.via("c")
			third := &txTransport{first.txRig, tidings.AfterCommit, nil}
			third.via("d")
			err := first.transact(t.Context(), func(ctx context.Context) error {
				first.mustPublish(ctx, t, 1, 2)
				return nil
			})
			if fails {
				require.ErrorIs(t, err, errTx)
				require.Equal(t, "begin I1 I2 B1 B2 send(1@a+b,2@a+b) rollback R1 R2", first.log())
			} else {
				require.NoError(t, err)
				require.Equal(t, "begin I1 I2 B1 B2 send(1@a+b,2@a+b) send(1@c,2@c) commit send(1@d,2@d) C1 C2", first.log())
			}
		})
	}
}

func TestDefaultTransportInATransaction(t *testing.T) {
	t.Parallel()
	s := &txTransport{phase: tidings.AfterCommit}
	s.txRig = newTxRig(tidings.WithTransport(s))
	s.on(tidings.AfterCommit, "C", nil)
	tidings.Subscribe(s.bus, func(context.Context, txEvent) error { return nil }, tidings.Named("a"))
	require.NoError(t, s.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(tidings.Publish(ctx, s.bus, txOther{N: 1}), s.publish(ctx, 2))
	}))
	require.Equal(t, "begin commit send(other1@,2@a) C2", s.log(), "also what nothing here subscribes to")
	require.Error(t, s.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(tidings.Publish(ctx, s.bus, txOther{N: 1}), errTx)
	}))
	require.Equal(t, "begin rollback", s.log())
}

func TestTransportOfUnsubscribedHandlers(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.BeforeCommit, tidings.AfterCommit} {
		t.Run(phase.String(), func(t *testing.T) {
			t.Parallel()
			s := &txTransport{newTxRig(), phase, nil}
			a := s.via("a")
			b := s.via("b")
			require.NoError(t, s.transact(t.Context(), func(ctx context.Context) error {
				s.mustPublish(ctx, t, 1)
				a.Unsubscribe()
				s.mustPublish(ctx, t, 2)
				return nil
			}))
			require.Contains(t, s.log(), "send(1@b,2@b)")
			require.NoError(t, s.transact(t.Context(), func(ctx context.Context) error {
				s.mustPublish(ctx, t, 1)
				b.Unsubscribe()
				return nil
			}))
			require.Equal(t, "begin commit", s.log(), "nobody is left")
		})
	}
}

func TestTransportOfHandlersUnsubscribedBeforeTheCommit(t *testing.T) {
	t.Parallel()
	s := &txTransport{newTxRig(), tidings.BeforeCommit, nil}
	a := s.via("a")
	s.on(tidings.BeforeCommit, "B", func(_ context.Context, e txEvent) error {
		if e.N == 2 {
			a.Unsubscribe()
		}
		return nil
	})
	require.NoError(t, s.transact(t.Context(), func(ctx context.Context) error {
		s.mustPublish(ctx, t, 1, 2)
		return nil
	}))
	require.Equal(t, "begin B1 B2 commit", s.log(), "the batch is sent after all handlers")
}

func TestTransportContextAfterTheCommit(t *testing.T) {
	t.Parallel()
	// Commit by hand is called with the context of the transaction, InTx of
	// another database inside of one: there is none in the context of Send.
	var s *txTransport
	sends := 0
	s = newTxTransport(tidings.AfterCommit, func(ctx context.Context, _ []tidings.Outgoing) error {
		sends++
		_, inTx := tidings.TxFrom[txHandle](ctx)
		require.False(t, inTx)
		_, inTx = tidings.TxFrom[*sql.Tx](ctx)
		require.False(t, inTx)
		return tidings.Publish(ctx, s.bus, txOther{})
	})
	ctx, hook := tidings.Begin(t.Context())
	ctx = tidings.WithTx(ctx, txHandle{})
	s.mustPublish(ctx, t, 1)
	require.NoError(t, hook.Prepare(ctx))
	require.NoError(t, hook.Commit(ctx))
	require.Equal(t, 1, sends)

	a, _ := fakedb.Open(t)
	b, _ := fakedb.Open(t)
	require.NoError(t, tidings.InTx(t.Context(), a, nil, func(ctx context.Context, _ *sql.Tx) error {
		return tidings.InTx(ctx, b, nil, func(ctx context.Context, _ *sql.Tx) error { return s.publish(ctx, 2) })
	}))
	require.Equal(t, 2, sends)
	require.Empty(t, s.reported())
}

func TestTransportGoexitsAfterTheCommit(t *testing.T) {
	t.Parallel()
	s := newTxTransport(tidings.AfterCommit, func(context.Context, []tidings.Outgoing) error {
		runtime.Goexit()
		return nil
	})
	other := &txTransport{s.txRig, tidings.AfterCommit, nil}
	other.via("c")
	inGoroutine(func() {
		_ = s.transact(t.Context(), func(ctx context.Context) error {
			return errors.Join(s.publish(ctx, 1), s.publish(ctx, 2))
		})
		t.Error("Transact returned")
	})
	log := s.log()
	for _, want := range []string{"send(1@a+b,2@a+b)", "send(1@c,2@c)", "C1", "C2"} {
		require.Contains(t, log, want, "what is committed is delivered")
	}
	require.Len(t, s.reported(), 2, "what was not accepted is reported, for every event")
}

func TestAsyncInATransaction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newTxRig()
		key := new(int)
		tidings.Subscribe(r.bus, func(ctx context.Context, e txEvent) error {
			_, inTx := tidings.TxFrom[txHandle](ctx)
			r.note("A%d value=%v tx=%v err=%v", e.N, ctx.Value(key), inTx, ctx.Err())
			return tidings.Publish(ctx, r.bus, txOther{N: e.N})
		}, tidings.Async())
		tidings.Subscribe(r.bus, func(_ context.Context, e txOther) error { r.note("other%d", e.N); return nil })

		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key, "kept"))
		require.NoError(t, r.transact(ctx, func(ctx context.Context) error {
			r.mustPublish(ctx, t, 1)
			synctest.Wait()
			require.Equal(t, "begin", r.log(), "not before the commit")
			return nil
		}))
		cancel()
		synctest.Wait()
		require.Equal(t, "commit A1 value=kept tx=false err=<nil> other1", r.log())

		require.Error(t, r.transact(t.Context(), func(ctx context.Context) error {
			r.mustPublish(ctx, t, 2)
			return errTx
		}))
		synctest.Wait()
		require.Equal(t, "begin rollback", r.log())
		require.NoError(t, r.bus.Close(t.Context()))
	})
}
