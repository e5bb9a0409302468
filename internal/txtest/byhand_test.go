package txtest_test

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestByHand(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()

	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	ctx = tidings.WithTx(ctx, txtest.Database, txtest.Handle{Name: "by hand"})
	r.MustPublish(ctx, t, 1, 2)
	require.Equal(t, "I1 I2", r.Log())
	require.NoError(t, hook.Prepare(ctx))
	require.Equal(t, "B1 B2", r.Log())
	require.NoError(t, hook.Commit(ctx))
	require.Equal(t, "C1 C2", r.Log())

	hook.Rollback(ctx)
	require.Empty(t, r.Log(), "deferred after Commit, it does nothing")
	require.ErrorIs(t, hook.Commit(ctx), tidings.ErrTxDone)
	require.ErrorIs(t, hook.Prepare(ctx), tidings.ErrTxDone)
	require.Empty(t, r.Log())

	ctx, hook = tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(ctx, t, 3, 4)
	hook.Rollback(ctx)
	require.Equal(t, "I3 I4 R3 R4", r.Log())
	hook.Rollback(ctx)
	require.ErrorIs(t, hook.Commit(ctx), tidings.ErrTxDone)
	require.Empty(t, r.Log(), "nothing is delivered after a rollback")
}

func TestByHandFailures(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.AfterCommit, "C", txtest.Fail, tidings.Named("mail"))
	r.On(tidings.AfterCommit, "D", func(context.Context, txtest.Event) error { return io.ErrClosedPipe })
	r.On(tidings.AfterRollback, "R", txtest.Fail)

	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(ctx, t, 1, 2)
	require.NoError(t, hook.Prepare(ctx))
	err := hook.Commit(ctx)
	require.ErrorIs(t, err, txtest.ErrTx)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, joined.Unwrap(), 4)
	for _, err := range joined.Unwrap() {
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
	}
	require.Equal(t, "C1 D1 C2 D2", r.Log(), "the caller has the errors, nobody else")

	ctx, hook = tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(ctx, t, 3)
	hook.Rollback(ctx)
	require.Equal(t, "R3 !", r.Log(), "Rollback has no result: the error handler gets them")
	require.ErrorIs(t, r.Reported()[0], txtest.ErrTx)
}

func TestByHandPrepareFails(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.BeforeCommit, "B", func(_ context.Context, e txtest.Event) error {
		if e.N == 2 {
			return txtest.ErrTx
		}
		return nil
	})
	r.On(tidings.AfterCommit, "C", nil)
	r.On(tidings.AfterRollback, "R", nil)

	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(ctx, t, 1, 2, 3)
	require.ErrorIs(t, hook.Prepare(ctx), txtest.ErrTx)
	require.Equal(t, "B1 B2", r.Log(), "the first failure ends it")
	hook.Rollback(ctx)
	require.Equal(t, "R1 R2 R3", r.Log())

	// Misuse: the caller commits although Prepare failed.
	ctx, hook = tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(ctx, t, 2)
	require.ErrorIs(t, hook.Prepare(ctx), txtest.ErrTx)
	require.Error(t, hook.Prepare(ctx), "a failure stays one")
	r.Log()
	require.Error(t, hook.Commit(ctx), "handlers that were to run before the commit have not")
	require.Equal(t, "C2", r.Log(), "it is committed, so it is delivered")
}

func TestByHandCommitWithoutPrepare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		before bool
		want   string
	}{
		{"no BeforeCommit handler", false, ""},
		{"a BeforeCommit handler", true, "without Prepare: BeforeCommit handlers of txtest.Event did not run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig()
			r.On(tidings.AfterCommit, "C", nil)
			if c.before {
				r.On(tidings.BeforeCommit, "B", nil)
			}
			ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			r.MustPublish(ctx, t, 1)
			err := hook.Commit(ctx)
			if c.want == "" {
				require.NoError(t, err, "there was nothing to prepare")
			} else {
				require.ErrorContains(t, err, c.want)
			}
			require.Equal(t, "C1", r.Log(), "it is committed, so it is delivered")
		})
	}
}

func TestByHandPublishAfterPrepare(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(ctx, t, 1)
	require.NoError(t, hook.Prepare(ctx))
	require.ErrorIs(t, r.Publish(ctx, 2), tidings.ErrTxDone)
	require.ErrorIs(t, tidings.OnCommit(ctx, r.Bus, func(context.Context) error { return nil }), tidings.ErrTxDone)
	require.NoError(t, hook.Commit(ctx))
	require.Equal(t, "I1 B1 C1", r.Log())
}

func TestByHandRollbackAfterPrepare(t *testing.T) {
	t.Parallel()
	// tx.Commit has failed.
	r := txtest.NewRig().Phases()
	ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(ctx, t, 1)
	require.NoError(t, hook.Prepare(ctx))
	hook.Rollback(ctx)
	require.Equal(t, "I1 B1 R1", r.Log())
}

func TestByHandNested(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	outerCtx, outer := tidings.NewTxHook(t.Context(), txtest.Database)
	r.MustPublish(outerCtx, t, 1)

	ctx, inner := tidings.NewTxHook(outerCtx, txtest.Database)
	r.MustPublish(ctx, t, 2)
	require.NoError(t, inner.Prepare(ctx))
	require.Equal(t, "I1 I2", r.Log(), "nothing to prepare before the outermost commit")
	r.MustPublish(ctx, t, 3)
	require.NoError(t, inner.Commit(ctx))
	require.ErrorIs(t, inner.Commit(ctx), tidings.ErrTxDone)

	ctx, inner = tidings.NewTxHook(outerCtx, txtest.Database)
	r.MustPublish(ctx, t, 4)
	inner.Rollback(ctx)
	inner.Rollback(ctx)
	require.ErrorIs(t, inner.Commit(ctx), tidings.ErrTxDone)

	require.NoError(t, r.Transact(outerCtx, func(ctx context.Context) error { return r.Publish(ctx, 5) }))
	require.Equal(t, "I3 I4 begin I5 commit", r.Log())

	require.NoError(t, outer.Prepare(outerCtx))
	require.NoError(t, outer.Commit(outerCtx))
	require.Equal(t, "B1 B2 B3 B5 C1 C2 C3 R4 C5", r.Log())
}

func TestByHandContexts(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	key := new(int)
	check := func(ctx context.Context, _ txtest.Event) error {
		_, inTx := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
		r.Note("%v tx:%v err:%v", ctx.Value(key), inTx, ctx.Err())
		return nil
	}
	r.On(tidings.AfterCommit, "C", check)
	r.On(tidings.AfterRollback, "R", check)
	for _, commit := range []bool{true, false} {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key, "value"))
		ctx, hook := tidings.NewTxHook(ctx, txtest.Database)
		ctx = tidings.WithTx(ctx, txtest.Database, txtest.Handle{})
		r.MustPublish(ctx, t, 1)
		require.NoError(t, hook.Prepare(ctx))
		cancel()
		if commit {
			require.NoError(t, hook.Commit(ctx))
			require.Equal(t, "C1 value tx:false err:<nil>", r.Log())
		} else {
			hook.Rollback(ctx)
			require.Equal(t, "R1 value tx:false err:<nil>", r.Log())
		}
	}
	require.Empty(t, r.Reported())
}

func TestByHandConcurrentEnds(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.AfterCommit, "C", nil)
	r.On(tidings.AfterRollback, "R", nil)
	for range 200 {
		ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
		r.MustPublish(ctx, t, 1)
		var wg sync.WaitGroup
		wg.Go(func() { _ = hook.Commit(ctx) })
		wg.Go(func() { hook.Rollback(ctx) })
		wg.Wait()
		require.Contains(t, []string{"C1", "R1"}, r.Log(), "one of the two, once")
	}
}
