package transactions_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func testInnerFails(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		err := f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			return errChangedMind
		})
		require.ErrorIs(t, err, errChangedMind)
		require.Empty(t, f.dropped, "AfterRollback handlers wait for the end of the outer transaction")
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}

func testInnerPanics(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.PanicsWithValue(t, "out of paper", func() {
			_ = f.transact(ctx, func(ctx context.Context) error {
				require.NoError(t, f.issue(ctx, "B"))
				panic("out of paper")
			})
		})
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}

func testOuterFails(t *testing.T, f *fixture) {
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "A") }))
		require.Empty(t, f.delivered, "the inner transaction is not committed before the outer one is")
		return errChangedMind
	}), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

// testThreeDeep: an inner scope that succeeds inside a scope that fails is rolled
// back too, and later events keep their order.
func testThreeDeep(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			require.NoError(t, f.transact(ctx, func(ctx context.Context) error { return f.issue(ctx, "C") }))
			return errChangedMind
		}), errChangedMind)
		require.NoError(t, f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "D"))
			require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
				require.NoError(t, f.issue(ctx, "E"))
				return errChangedMind
			}), errChangedMind)
			return f.issue(ctx, "F")
		}))
		return f.issue(ctx, "G")
	}))
	f.requireCommitted(t, "A", "D", "F", "G")
	f.requireDropped(t, "B", "C", "E")
}

// testStatementFailsInSavepoint: on Postgres, after a failed statement, a rollback
// to the savepoint makes the transaction usable again.
func testStatementFailsInSavepoint(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.ErrorContains(t, f.transact(ctx, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			return f.exec(ctx, "INSERT INTO no_such_table VALUES (1)")
		}), "no_such_table")
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}

// testInnerCancelled: a savepoint whose context has ended has to be rolled back
// nevertheless, or its rows would be committed without their events.
func testInnerCancelled(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		inner, cancel := context.WithCancel(ctx)
		require.ErrorIs(t, f.transact(inner, func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "B"))
			cancel()
			return ctx.Err()
		}), context.Canceled)
		return f.issue(ctx, "C")
	}))
	f.requireCommitted(t, "A", "C")
	f.requireDropped(t, "B")
}
