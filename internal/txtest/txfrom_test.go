package txtest_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestWithTxAndTxFrom(t *testing.T) {
	t.Parallel()
	type other struct{ name string }
	ctx := t.Context()
	_, ok := tidings.TxFrom[txtest.Handle](ctx)
	require.False(t, ok)

	ctx = tidings.WithTx(ctx, txtest.Handle{Name: "first"})
	ctx = tidings.WithTx(ctx, &other{"of another library"})
	inner := context.WithValue(tidings.WithTx(ctx, txtest.Handle{Name: "second"}), new(int), 1)

	got, ok := tidings.TxFrom[txtest.Handle](ctx)
	require.True(t, ok)
	require.Equal(t, "first", got.Name)
	got, _ = tidings.TxFrom[txtest.Handle](inner)
	require.Equal(t, "second", got.Name, "the innermost of its type")
	pointer, ok := tidings.TxFrom[*other](inner)
	require.True(t, ok)
	require.Equal(t, "of another library", pointer.name)
	_, ok = tidings.TxFrom[other](inner)
	require.False(t, ok, "a pointer is another type")
	_, ok = tidings.TxFrom[fmt.Stringer](inner)
	require.False(t, ok)

	// WithTx alone does not open a scope: an event published there is delivered now.
	r := txtest.NewRig().Phases()
	r.MustPublish(ctx, t, 1)
	require.Equal(t, "I1 B1 C1", r.Log())
}

func TestTxFromFindsInterfaces(t *testing.T) {
	t.Parallel()
	ctx := tidings.WithTx(t.Context(), io.NopCloser(strings.NewReader("tx")))
	_, ok := tidings.TxFrom[io.Closer](ctx)
	require.True(t, ok)
}

func TestWithinTx(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	within := map[string]bool{}
	note := func(where string) func(context.Context, txtest.Event) error {
		return func(ctx context.Context, _ txtest.Event) error {
			within[where] = tidings.HasTx(ctx)
			return nil
		}
	}
	tidings.Subscribe(bus, note("in"), tidings.InTransaction)
	tidings.Subscribe(bus, note("before"), tidings.BeforeCommit)
	tidings.Subscribe(bus, note("after"))

	require.False(t, tidings.HasTx(t.Context()))
	require.NoError(t, tidings.Publish(t.Context(), bus, txtest.Event{}))
	require.Equal(t, map[string]bool{"in": false, "before": false, "after": false}, within, "there is none")

	require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		require.True(t, tidings.HasTx(ctx))
		return tidings.Publish(ctx, bus, txtest.Event{})
	}))
	require.Equal(t, map[string]bool{"in": true, "before": true, "after": false}, within)
	ctx, hook := tidings.NewTxHook(t.Context())
	defer hook.Rollback(ctx)
	require.True(t, tidings.HasTx(ctx))
}
