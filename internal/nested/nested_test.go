package nested_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/nested"
)

type noted struct {
	tidings.DomainEvent
	Text string
}

// The words of a transaction are statements, and events in lower case, all published with
// the context of the whole transaction.
func TestSavepoints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ words, delivered string }{
		{"a; SAVEPOINT x; b; RELEASE SAVEPOINT x; c", "a b c"},
		{"a; SAVEPOINT x; b; ROLLBACK TO SAVEPOINT x; c", "a c"},
		{"a; SAVEPOINT x; b", "a b"},
		{"SAVEPOINT x; a; ROLLBACK TO x; b; ROLLBACK TO x; c", "c"},
		{"SAVEPOINT x; a; ROLLBACK TO x; b; RELEASE x; c", "b c"},
		{"SAVEPOINT x; a; RELEASE x; b; ROLLBACK TO x; c", "a b c"}, // the database refuses that one
		{"SAVEPOINT x; a; SAVEPOINT y; b; ROLLBACK TO y; c; SAVEPOINT z; d; ROLLBACK TO x; e", "e"},
		{"SAVEPOINT x; a; SAVEPOINT y; b; RELEASE x; c; ROLLBACK TO y; d", "a b c d"},
		{"SAVEPOINT x; a; SAVEPOINT y; b; RELEASE y; ROLLBACK TO x; c", "c"},
		{"SAVEPOINT x; a; SAVEPOINT x; b; ROLLBACK TO x; c; RELEASE x; ROLLBACK TO x; d", "d"},
		{"savepoint sp_1; a; rollback  to\n savepoint SP_1 ; b", "b"},
		{`  SAVEPOINT "x"; a; ROLLBACK WORK TO x; b`, "b"},
		{"SAVEPOINT `x`; a; ROLLBACK TRANSACTION TO x; b", "b"},
		{"SAVE TRANSACTION x; a; ROLLBACK TRANSACTION x; b", "b"},
		{"SAVE TRAN [x]; a; ROLLBACK TRAN x; b", "b"},
		{"SAVEPOINT; RELEASE; ROLLBACK; SAVE x; SAVE; SAVE TRAN; ROLLBACK x; SAVED; RELEASES x; ROLL; ; a", "a"},
	} {
		t.Run(tt.words, func(t *testing.T) {
			t.Parallel()
			bus, db := tidings.New(), new(int)
			var delivered []string
			tidings.Subscribe(bus, func(_ context.Context, e noted) error {
				delivered = append(delivered, e.Text)
				return nil
			})
			ctx, hook := tidings.NewTxHook(t.Context(), db)
			savepoints := nested.Of(ctx, db)
			for _, word := range strings.Split(tt.words, "; ") {
				if len(word) == 1 {
					require.NoError(t, tidings.Publish(ctx, bus, noted{Text: word}))
				} else {
					savepoints.Ran(word)
				}
			}
			require.NoError(t, hook.Prepare(ctx))
			require.NoError(t, hook.Commit(ctx))
			require.Equal(t, tt.delivered, strings.Join(delivered, " "))
		})
	}
}

// Savepoints of tidings and of a library nest in any order.
func TestInsideTransact(t *testing.T) {
	t.Parallel()
	bus, db := tidings.New(), new(int)
	var delivered []string
	tidings.Subscribe(bus, func(_ context.Context, e noted) error {
		delivered = append(delivered, e.Text)
		return nil
	})
	var savepoints *nested.Savepoints
	of := tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
		if savepoints == nil {
			savepoints = nested.Of(ctx, db)
		}
		return body(ctx)
	}}
	publish := func(ctx context.Context, text string) {
		require.NoError(t, tidings.Publish(ctx, bus, noted{Text: text}))
	}
	require.NoError(t, tidings.Transact(t.Context(), of, func(outer context.Context) error {
		publish(outer, "a")
		savepoints.Ran("SAVEPOINT x")
		require.Error(t, tidings.Transact(outer, of, func(ctx context.Context) error {
			publish(outer, "b")
			savepoints.Ran("SAVEPOINT y")
			publish(ctx, "c")
			savepoints.Ran("RELEASE SAVEPOINT y")
			return context.Canceled
		}))
		require.NoError(t, tidings.Transact(outer, of, func(ctx context.Context) error {
			savepoints.Ran("SAVEPOINT y")
			publish(outer, "d")
			savepoints.Ran("ROLLBACK TO SAVEPOINT y")
			publish(ctx, "e")
			return nil
		}))
		publish(outer, "f")
		savepoints.Ran("RELEASE SAVEPOINT x")
		publish(outer, "g")
		savepoints.Ran("SAVEPOINT x")
		publish(outer, "h")
		require.Error(t, tidings.Transact(outer, of, func(ctx context.Context) error {
			savepoints.Ran("SAVEPOINT x") // of the same name, and gone with this scope
			return context.Canceled
		}))
		savepoints.Ran("ROLLBACK TO SAVEPOINT x")
		publish(outer, "i")
		return nil
	}))
	require.Equal(t, "a e f g i", strings.Join(delivered, " "))
}

// All code in a transaction shares its savepoints, whichever scope of it has begun.
func TestOf(t *testing.T) {
	t.Parallel()
	bus, db := tidings.New(), new(int)
	var delivered []string
	tidings.Subscribe(bus, func(_ context.Context, e noted) error {
		delivered = append(delivered, e.Text)
		return nil
	})
	publish := func(ctx context.Context, text string) {
		require.NoError(t, tidings.Publish(ctx, bus, noted{Text: text}))
	}
	require.Nil(t, nested.Of(t.Context(), db))
	outer, hook := tidings.NewTxHook(t.Context(), db)
	require.Nil(t, nested.Of(outer, new(string)), "another database")
	inner, innerHook := tidings.NewTxHook(outer, db)
	nested.Of(inner, db).Ran("SAVEPOINT x")
	publish(inner, "a")
	nested.Of(outer, db).Ran("ROLLBACK TO x")
	require.NoError(t, innerHook.Commit(inner))
	publish(outer, "b")
	nested.Of(outer, db).Ran("SAVEPOINT y")
	publish(outer, "c")
	other, otherHook := tidings.NewTxHook(outer, new(string)) // ends before
	nested.Of(other, db).Ran("SAVEPOINT z")
	publish(outer, "d")
	require.NoError(t, otherHook.Commit(other))
	nested.Of(outer, db).Ran("ROLLBACK TO y")
	publish(outer, "e")
	require.NoError(t, hook.Prepare(outer))
	require.NoError(t, hook.Commit(outer))
	require.Equal(t, "b e", strings.Join(delivered, " "))
}

func TestIsSavepoint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		statement    string
		is, rollback bool
	}{
		{"SAVEPOINT x", true, false},
		{"RELEASE x", true, false},
		{"ROLLBACK TO SAVEPOINT x", true, true},
		{"ROLLBACK", false, false},
		{"SELECT 1", false, false},
	} {
		is, rollback := nested.IsSavepoint(tt.statement)
		require.Equal(t, []bool{tt.is, tt.rollback}, []bool{is, rollback}, tt.statement)
	}
}
