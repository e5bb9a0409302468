package txtest_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestOnCommitOutsideATransaction(t *testing.T) {
	t.Parallel()
	ctx := tidings.WithTx(t.Context(), txtest.Database, txtest.Handle{Name: "not begun by a scope"})
	bus := tidings.New()
	called := 0
	require.ErrorIs(t, tidings.OnCommit(ctx, bus, func(context.Context) error { called++; return txtest.ErrTx }), txtest.ErrTx)
	require.Equal(t, 1, called, "now, and its failure to the caller")
	require.NoError(t, tidings.OnCommit(ctx, bus, func(context.Context) error { called++; return nil }))
	require.Equal(t, 2, called)
	require.ErrorContains(t, tidings.OnCommit(ctx, bus, nil), "nil context or function")
	fn := func(context.Context) error { return nil }
	require.ErrorContains(t, tidings.OnCommit(ctx, nil, fn), "a nil *EventBus")
	require.ErrorContains(t, tidings.OnCommit(ctx, &tidings.EventBus{}, fn), "OnCommit on the zero EventBus")
}

func TestOnCommitIsQueuedLikeAnEvent(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	call := func(word string) func(context.Context) error {
		return func(context.Context) error { r.Note("%s", word); return nil }
	}
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.OnCommit(ctx, r.Bus, call("a")))
		r.MustPublish(ctx, t, 1)
		require.NoError(t, tidings.OnCommit(ctx, r.Bus, call("b")))
		require.NoError(t, r.Transact(ctx, func(ctx context.Context) error {
			return tidings.OnCommit(ctx, r.Bus, call("c"))
		}))
		require.Error(t, r.Transact(ctx, func(ctx context.Context) error {
			require.NoError(t, tidings.OnCommit(ctx, r.Bus, call("dropped")))
			return txtest.ErrTx
		}))
		r.MustPublish(ctx, t, 2)
		return tidings.OnCommit(ctx, r.Bus, call("d"))
	}))
	require.Equal(t, "begin I1 save release save back I2 B1 B2 commit a C1 b c C2 d", r.Log())

	require.Error(t, r.Transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, tidings.OnCommit(ctx, r.Bus, call("dropped")))
		return txtest.ErrTx
	}))
	require.Equal(t, "begin rollback", r.Log())
}

func TestOnCommitContext(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	key := new(int)
	outside, cancel := context.WithCancel(context.WithValue(t.Context(), key, "outside"))
	called := false
	require.NoError(t, r.Transact(outside, func(ctx context.Context) error {
		ctx = context.WithValue(ctx, key, "inside")
		err := tidings.OnCommit(ctx, r.Bus, func(ctx context.Context) error {
			called = true
			require.NoError(t, ctx.Err())
			require.Equal(t, "outside", ctx.Value(key))
			_, inTx := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
			require.False(t, inTx)
			return tidings.OnCommit(ctx, r.Bus, func(context.Context) error { r.Note("now"); return nil })
		})
		cancel()
		return err
	}))
	require.True(t, called)
	require.Equal(t, "begin commit now", r.Log())
}

func TestOnCommitKeepsTheWorkflow(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	var cause, effect tidings.Event
	tidings.Subscribe(r.Bus, func(ctx context.Context, e txtest.Event) error {
		cause = e
		return tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error {
			return tidings.OnCommit(ctx, r.Bus, func(ctx context.Context) error {
				return tidings.Publish(ctx, r.Bus, txtest.Other{})
			})
		})
	})
	tidings.Subscribe(r.Bus, func(_ context.Context, e txtest.Other) error { effect = e; return nil })
	r.MustPublish(t.Context(), t, 1)
	require.NotNil(t, effect)
	require.Equal(t, cause.EventID(), effect.CausationID())
	require.Equal(t, cause.CorrelationID(), effect.CorrelationID())
}

func TestOnCommitFailures(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.AfterCommit, "C", nil)

	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(
			tidings.OnCommit(ctx, r.Bus, func(context.Context) error { return txtest.ErrTx }),
			r.Publish(ctx, 1),
			tidings.OnCommit(ctx, r.Bus, func(context.Context) error { panic(io.ErrClosedPipe) }),
			r.Publish(ctx, 2))
	}))
	require.Equal(t, "begin commit ! C1 ! C2", r.Log())
	failures := r.Reported()
	require.ErrorIs(t, failures[0], txtest.ErrTx)
	require.ErrorIs(t, failures[1], io.ErrClosedPipe)
	var panicked *tidings.PanicError
	require.ErrorAs(t, failures[1], &panicked)

	txtest.InGoroutine(func() {
		_ = r.Transact(t.Context(), func(ctx context.Context) error {
			return errors.Join(
				tidings.OnCommit(ctx, r.Bus, func(context.Context) error { runtime.Goexit(); return nil }),
				r.Publish(ctx, 3))
		})
		t.Error("Transact returned")
	})
	require.Equal(t, "begin commit ! C3", r.Log(), "what is committed is delivered nevertheless")
	require.ErrorContains(t, r.Reported()[0], "Goexit")

	// Where the scope was closed by hand, the caller of Commit gets the failure.
	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	require.NoError(t, tidings.OnCommit(ctx, r.Bus, func(context.Context) error { return txtest.ErrTx }))
	require.ErrorIs(t, hook.Commit(ctx), txtest.ErrTx)
	require.Empty(t, r.Log(), "the caller of Commit has it")
}

func TestOnCommitRecursionIsBounded(t *testing.T) {
	t.Parallel()
	bus := tidings.New(tidings.WithMaxDepth(20))
	calls := 0
	var again func(ctx context.Context) error
	var refused error
	again = func(ctx context.Context) error {
		if calls++; calls > 1000 {
			return nil
		}
		return tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error {
			refused = tidings.OnCommit(ctx, bus, again)
			return refused
		})
	}
	require.NoError(t, again(t.Context()), "the outermost did commit")
	require.ErrorIs(t, refused, tidings.ErrMaxDepth)
	require.LessOrEqual(t, calls, 21)
}

func TestOnCommitRecursionThroughEventsIsBounded(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig(tidings.WithMaxDepth(6))
	var refused error
	r.On(tidings.AfterCommit, "C", func(ctx context.Context, e txtest.Event) error {
		return tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error {
			return tidings.OnCommit(ctx, r.Bus, func(ctx context.Context) error {
				err := r.Publish(ctx, e.N+1)
				if errors.Is(err, tidings.ErrMaxDepth) {
					refused = err
				}
				return err
			})
		})
	})
	_ = r.Publish(t.Context(), 1)
	require.ErrorContains(t, refused, "txtest.Event > OnCommit > txtest.Event > OnCommit > txtest.Event")
	require.Equal(t, "C1 C2 C3 !", r.Log(), "a callback is a level, and so is a handler")
}
