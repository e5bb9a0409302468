package txtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestAfterCommitFailuresGoToTheErrorHandler(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.AfterCommit, "C", func(_ context.Context, e txtest.Event) error {
		if e.N == 2 {
			panic("boom")
		}
		return txtest.ErrTx
	}, tidings.Named("mail"))
	r.On(tidings.AfterCommit, "D", nil)

	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1, 2)
		return nil
	}), "a subscriber must not make a committed order look failed")

	require.Equal(t, "begin commit C1 D1 ! C2 D2 !", r.Log())
	failures := r.Reported()
	require.Len(t, failures, 2)
	require.ErrorIs(t, failures[0], txtest.ErrTx)
	for i, err := range failures {
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "mail", failed.Handler)
		require.Equal(t, i+1, failed.Event.(txtest.Event).N)
	}
	var panicked *tidings.PanicError
	require.ErrorAs(t, failures[1], &panicked)
	require.Equal(t, "boom", panicked.Value)
}

func TestAfterRollbackFailuresGoToTheErrorHandler(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.AfterRollback, "R", func(context.Context, txtest.Event) error { return io.ErrClosedPipe })
	err := r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1, 2)
		return txtest.ErrTx
	})
	require.Equal(t, txtest.ErrTx, err, "the caller gets what failed, and no more")
	require.Equal(t, "begin rollback R1 ! R2 !", r.Log())
	for _, err := range r.Reported() {
		require.ErrorIs(t, err, io.ErrClosedPipe)
	}
}

func TestGoexitInEveryPhase(t *testing.T) {
	t.Parallel()
	exit := func(phase tidings.Phase) *txtest.Rig {
		r := txtest.NewRig().Phases()
		r.On(phase, "exit", func(_ context.Context, e txtest.Event) error {
			if e.N == 1 {
				runtime.Goexit()
			}
			return nil
		}, tidings.Named("exit"))
		r.On(phase, "later", nil)
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
				txtest.InGoroutine(func() { fn(); returned = true })
				require.False(t, returned)
			}
			check := func(want string) {
				words := strings.Fields(r.Log())
				words = slices.DeleteFunc(words, func(w string) bool { return w == "!" })
				require.Equal(t, want, strings.Join(words, " "))
				failures := r.Reported()
				require.Len(t, failures, 1, "nobody else is left to tell")
				var failed *tidings.HandlerError
				require.ErrorAs(t, failures[0], &failed)
				require.Equal(t, "exit", failed.Handler)
				require.ErrorContains(t, failures[0], "Goexit")
			}
			ends(func() { _ = r.Publish(t.Context(), 1) })
			check(c.outside)
			ends(func() {
				_ = r.Transact(t.Context(), func(ctx context.Context) error {
					return errors.Join(r.Publish(ctx, 1), r.Publish(ctx, 2))
				})
			})
			check(c.inside)
			ends(func() {
				ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
				defer hook.Rollback(ctx)
				r.Note("begin")
				if errors.Join(r.Publish(ctx, 1), r.Publish(ctx, 2), hook.Prepare(ctx)) == nil {
					r.Note("commit")
					_ = hook.Commit(ctx)
				}
			})
			check(strings.Replace(c.inside, "rollback ", "", 1))

			require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error { return r.Publish(ctx, 3) }))
			require.Empty(t, r.Reported(), "the bus is as good as before")
		})
	}
}

func TestGoexitAmongFailures(t *testing.T) {
	t.Parallel()
	// The failures of the handlers before and after the one that ends the goroutine
	// are reported too, since TxHook.Commit does not return.
	r := txtest.NewRig()
	r.On(tidings.AfterCommit, "C", func(_ context.Context, e txtest.Event) error {
		if e.N == 2 || e.N == 4 {
			runtime.Goexit()
		}
		return fmt.Errorf("failure %d", e.N)
	})
	txtest.InGoroutine(func() {
		ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
		r.MustPublish(ctx, t, 1, 2, 3, 4, 5)
		_ = hook.Commit(ctx)
		t.Error("Commit returned")
	})
	var events []int
	for _, err := range r.Reported() {
		var failed *tidings.HandlerError
		require.ErrorAs(t, err, &failed)
		events = append(events, failed.Event.(txtest.Event).N)
	}
	require.ElementsMatch(t, []int{1, 2, 3, 4, 5}, events)
}

func TestFailuresAreReportedWithTheHandlersContext(t *testing.T) {
	t.Parallel()
	transact := func(ctx context.Context, publish func(context.Context) error, end error) {
		_ = tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error { return errors.Join(publish(ctx), end) })
	}
	byHand := func(ctx context.Context, publish func(context.Context) error, end error) {
		ctx, hook := tidings.NewTxHook(ctx, txtest.Database)
		defer hook.Rollback(ctx)
		if publish(ctx) == nil && end == nil {
			_ = hook.Commit(ctx)
		}
	}
	for _, c := range []struct {
		name  string
		tx    func(ctx context.Context, publish func(context.Context) error, end error)
		phase tidings.Phase
		fail  func() error
		end   error
	}{
		{"error after the commit", transact, tidings.AfterCommit, func() error { return txtest.ErrTx }, nil},
		{"panic after the commit", transact, tidings.AfterCommit, func() error { panic("boom") }, nil},
		{"Goexit after the commit", transact, tidings.AfterCommit, func() error { runtime.Goexit(); return nil }, nil},
		{"error after the rollback", transact, tidings.AfterRollback, func() error { return txtest.ErrTx }, txtest.ErrTx},
		{"Goexit after the commit, by hand", byHand, tidings.AfterCommit, func() error { runtime.Goexit(); return nil }, nil},
		{"error after the rollback, by hand", byHand, tidings.AfterRollback, func() error { return txtest.ErrTx }, txtest.ErrTx},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reports := 0
			var bus *tidings.EventBus
			bus = tidings.New(tidings.WithErrorHandler(func(ctx context.Context, err error) {
				reports++
				e, ok := tidings.EventFrom(ctx)
				require.True(t, ok)
				require.Equal(t, 1, e.(txtest.Event).N)
				_, inTx := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
				require.False(t, inTx)
				require.NoError(t, ctx.Err())
				require.NoError(t, tidings.Publish(ctx, bus, txtest.Other{}), "an error handler may publish")
			}))
			tidings.Subscribe(bus, func(context.Context, txtest.Event) error { return c.fail() }, c.phase)
			var effects []tidings.Event
			tidings.Subscribe(bus, func(_ context.Context, e txtest.Other) error { effects = append(effects, e); return nil })
			cause := tidings.Stamp(t.Context(), txtest.Event{N: 1})
			txtest.InGoroutine(func() {
				c.tx(t.Context(), func(ctx context.Context) error {
					return tidings.Publish(tidings.WithTx(ctx, txtest.Database, txtest.Handle{}), bus, cause)
				}, c.end)
			})
			require.Equal(t, 1, reports)
			require.Len(t, effects, 1)
			require.Equal(t, cause.EventID(), effects[0].CausationID())
		})
	}
}
