package txtest_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestImplicitTransaction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fails tidings.Phase // of the second handler for event 1
		log   string
	}{
		// Events that a handler of 1 publishes are delivered or dropped with 1.
		{"InTransaction fails", tidings.InTransaction, "I1 I2 J1 R1 R2"},
		{"BeforeCommit fails", tidings.BeforeCommit, "I1 I2 J1 D1 R1 R2"},
		{"AfterCommit fails", tidings.AfterCommit, "I1 I2 J1 D1 C1 E1 C2"},
		{"AfterRollback", tidings.AfterRollback, "I1 I2 J1 D1 C1 E1 C2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig()
			on1 := func(phase tidings.Phase, word string) {
				r.On(phase, word, func(_ context.Context, e txtest.Event) error {
					if phase == c.fails {
						return txtest.ErrTx
					}
					return nil
				})
			}
			r.On(tidings.InTransaction, "I", func(ctx context.Context, e txtest.Event) error {
				if e.N == 1 {
					return tidings.Publish(ctx, r.Bus, txtest.Other{N: 2})
				}
				return nil
			})
			on1(tidings.InTransaction, "J")
			on1(tidings.BeforeCommit, "D")
			r.On(tidings.AfterCommit, "C", nil)
			on1(tidings.AfterCommit, "E")
			r.On(tidings.AfterRollback, "R", nil)
			for phase, word := range map[tidings.Phase]string{tidings.InTransaction: "I", tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
				tidings.Subscribe(r.Bus, func(_ context.Context, e txtest.Other) error { r.Note("%s%d", word, e.N); return nil }, phase)
			}
			err := r.Publish(t.Context(), 1)
			if c.fails == tidings.AfterRollback {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, txtest.ErrTx)
			}
			require.Equal(t, c.log, r.Log())
		})
	}
}

func TestImplicitTransactionReturnsAllFailures(t *testing.T) {
	t.Parallel()
	// An event that an InTransaction handler publishes is delivered with
	// the first one, and so are its failures.
	r := txtest.NewRig()
	r.On(tidings.InTransaction, "I", func(ctx context.Context, e txtest.Event) error {
		return tidings.Publish(ctx, r.Bus, txtest.Other{})
	})
	r.On(tidings.AfterCommit, "C", txtest.Fail)
	tidings.Subscribe(r.Bus, func(context.Context, txtest.Other) error { return io.ErrClosedPipe })
	err := r.Publish(t.Context(), 1)
	require.ErrorIs(t, err, txtest.ErrTx)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Empty(t, r.Reported())
}

func TestImplicitTransactionIsNoTransaction(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	var kept context.Context
	r.On(tidings.InTransaction, "I", func(ctx context.Context, e txtest.Event) error {
		_, inTx := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
		require.False(t, inTx)
		if e.N == 1 {
			kept = ctx
			// Begins a transaction, which commits whether the event is delivered or not.
			return errors.Join(r.Transact(ctx, func(ctx context.Context) error {
				return tidings.Publish(ctx, r.Bus, txtest.Other{N: 2})
			}), txtest.ErrTx)
		}
		return nil
	})
	tidings.Subscribe(r.Bus, func(_ context.Context, e txtest.Other) error { r.Note("C%d", e.N); return nil })
	r.On(tidings.AfterRollback, "R", nil)
	require.ErrorIs(t, r.Publish(t.Context(), 1), txtest.ErrTx)
	require.Equal(t, "I1 begin commit C2 R1", r.Log())
	require.ErrorIs(t, r.Publish(kept, 3), tidings.ErrTxDone, "what is published with it now would be lost")
}
