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
	_, ok := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
	require.False(t, ok)

	ctx = tidings.WithTx(ctx, txtest.Database, txtest.Handle{Name: "first"})
	ctx = tidings.WithTx(ctx, txtest.Database, &other{"of another library"})
	ctx = tidings.WithTx(ctx, "another database", txtest.Handle{Name: "elsewhere"})
	inner := context.WithValue(tidings.WithTx(ctx, txtest.Database, txtest.Handle{Name: "second"}), new(int), 1)

	got, ok := tidings.TxFrom[txtest.Handle](ctx, txtest.Database)
	require.True(t, ok)
	require.Equal(t, "first", got.Name)
	got, _ = tidings.TxFrom[txtest.Handle](inner, txtest.Database)
	require.Equal(t, "second", got.Name, "the innermost of its type")
	got, _ = tidings.TxFrom[txtest.Handle](inner, "another database")
	require.Equal(t, "elsewhere", got.Name)
	pointer, ok := tidings.TxFrom[*other](inner, txtest.Database)
	require.True(t, ok)
	require.Equal(t, "of another library", pointer.name)
	_, ok = tidings.TxFrom[other](inner, txtest.Database)
	require.False(t, ok, "a pointer is another type")
	_, ok = tidings.TxFrom[*other](inner, "another database")
	require.False(t, ok)
	_, ok = tidings.TxFrom[fmt.Stringer](inner, txtest.Database)
	require.False(t, ok)
	require.Equal(t, inner, tidings.WithTx(inner, txtest.Database, nil))
	require.PanicsWithValue(t, "tidings: WithTx with a nil database", func() { tidings.WithTx(ctx, nil, "tx") })
	require.PanicsWithValue(t, "tidings: WithTx with a []string for the database, which cannot be compared: pass a pointer", func() {
		tidings.WithTx(ctx, []string{}, "tx")
	})

	// WithTx alone does not open a scope: an event published there is delivered now.
	r := txtest.NewRig().Phases()
	r.MustPublish(ctx, t, 1)
	require.Equal(t, "I1 B1 C1", r.Log())
}

func TestTxFromFindsInterfaces(t *testing.T) {
	t.Parallel()
	ctx := tidings.WithTx(t.Context(), txtest.Database, io.NopCloser(strings.NewReader("tx")))
	_, ok := tidings.TxFrom[io.Closer](ctx, txtest.Database)
	require.True(t, ok)
}

func TestTxDatabase(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	within := map[string]any{}
	note := func(where string) func(context.Context, txtest.Event) error {
		return func(ctx context.Context, _ txtest.Event) error {
			within[where], _ = tidings.TxDatabase(ctx)
			return nil
		}
	}
	tidings.Subscribe(bus, note("in"), tidings.InTransaction)
	tidings.Subscribe(bus, note("before"), tidings.BeforeCommit)
	tidings.Subscribe(bus, note("after"))

	_, in := tidings.TxDatabase(t.Context())
	require.False(t, in)
	_, in = tidings.TxDatabase(tidings.WithTx(t.Context(), txtest.Database, "tx"))
	require.False(t, in, "there is no scope")
	require.NoError(t, tidings.Publish(t.Context(), bus, txtest.Event{}))
	require.Equal(t, map[string]any{"in": nil, "before": nil, "after": nil}, within, "there is none")

	require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		db, in := tidings.TxDatabase(ctx)
		require.True(t, in)
		require.Equal(t, txtest.Database, db)
		return tidings.Publish(ctx, bus, txtest.Event{})
	}))
	require.Equal(t, map[string]any{"in": txtest.Database, "before": txtest.Database, "after": nil}, within)
	ctx, hook := tidings.NewTxHook(t.Context(), "by hand")
	defer hook.Rollback(ctx)
	db, in := tidings.TxDatabase(ctx)
	require.True(t, in)
	require.Equal(t, "by hand", db)
}
