package txtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

func TestInTxNested(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		inner, outer error
		want         []string
	}{
		{"both succeed", nil, nil, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3",
			"B1", "B2", "B3", "COMMIT", "C1", "C2", "C3",
		}},
		{"the inner fails", txtest.ErrTx, nil, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "I3",
			"B1", "B3", "COMMIT", "C1", "R2", "C3",
		}},
		{"the outer fails", nil, txtest.ErrTx, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3",
			"ROLLBACK", "R1", "R2", "R3",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewSQLRig(t)
			require.ErrorIs(t, r.InTx(t.Context(), func(ctx context.Context, outer *sql.Tx) error {
				r.MustPublish(ctx, t, 1)
				require.ErrorIs(t, r.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
					require.Same(t, outer, tx)
					r.MustPublish(ctx, t, 2)
					return c.inner
				}), c.inner)
				r.MustPublish(ctx, t, 3)
				return c.outer
			}), c.outer)
			require.Equal(t, c.want, r.Statements())
			require.Empty(t, r.Reported())
		})
	}
}

func TestInTxNestedDeeply(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		require.ErrorIs(t, r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			require.NoError(t, r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 1) }))
			return txtest.ErrTx
		}), txtest.ErrTx)
		return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 2) })
		})
	}))
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_1", "SAVEPOINT tidings_2", "I1", "RELEASE SAVEPOINT tidings_2",
		"ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_3", "SAVEPOINT tidings_4", "I2", "RELEASE SAVEPOINT tidings_4", "RELEASE SAVEPOINT tidings_3",
		"B2", "COMMIT", "R1", "C2",
	}, r.Statements())
}

func TestInTxStatementsFail(t *testing.T) {
	t.Parallel()
	errDB := errors.New("disk full")
	for _, c := range []struct {
		statement string // fails
		inner     error  // what the inner scope returns
		innerErr  string // is in what the inner InTx returns
		outerErr  string // is in what the outer InTx returns, which swallows that
		want      []string
		reason    string
	}{
		{
			"BEGIN", nil, "", "tidings: InTx: begin: disk full",
			[]string{"BEGIN"}, "there is no transaction",
		}, {
			"COMMIT", nil, "", "tidings: InTx: commit: disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3", "B1", "B2", "B3", "COMMIT", "R1", "R2", "R3"},
			"not known to be committed",
		}, {
			"SAVEPOINT", nil, "setting a savepoint: disk full", "",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I3", "B1", "B3", "COMMIT", "C1", "C3"},
			"a driver without savepoints: the scope does not begin",
		}, {
			"RELEASE", nil, "releasing the savepoint: disk full", "",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1",
				"ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "I3", "B1", "B3", "COMMIT", "C1", "R2", "C3"},
			"the scope counts as rolled back, so it is rolled back",
		}, {
			"ROLLBACK TO", txtest.ErrTx, "out of stock", "rolling back to a savepoint failed, so the transaction cannot commit: disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "I3", "B1", "B3", "ROLLBACK", "R1", "R2", "R3"},
			"what the inner scope wrote is still there",
		}, {
			"ROLLBACK TO", txtest.ErrTx, "cannot commit: disk full", "cannot commit: disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "I3", "B1", "B3", "ROLLBACK", "R1", "R2", "R3"},
			"the inner InTx says both",
		}, {
			"I2", nil, "disk full", "",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
				"I3", "B1", "B3", "COMMIT", "C1", "R2", "C3"},
			"an InTransaction handler",
		}, {
			"B2", nil, "", "disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3", "B1", "B2", "ROLLBACK", "R1", "R2", "R3"},
			"a BeforeCommit handler",
		},
	} {
		t.Run(c.statement, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewSQLRig(t)
			r.SQL.Fail(c.statement, errDB)
			check := func(err error, text string) {
				t.Helper()
				if text == "" {
					require.NoError(t, err, c.reason)
				} else {
					require.ErrorContains(t, err, text, c.reason)
				}
			}
			check(r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
				r.MustPublish(ctx, t, 1)
				check(r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
					return errors.Join(r.Publish(ctx, 2), c.inner)
				}), c.innerErr)
				r.MustPublish(ctx, t, 3)
				return nil
			}), c.outerErr)
			require.Equal(t, c.want, r.Statements(), c.reason)
			require.Empty(t, r.Reported())
		})
	}
}

func TestInTxDoomedBelowAnotherSavepoint(t *testing.T) {
	t.Parallel()
	// Rolling back to the savepoint fails two scopes deep, after a panic, and the fn of
	// the middle scope drops the error.
	r := txtest.NewSQLRig(t)
	r.SQL.Fail("ROLLBACK TO", errors.New("disk full"))
	err := r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			require.PanicsWithValue(t, "boom", func() {
				_ = r.InTx(ctx, func(context.Context, *sql.Tx) error { panic("boom") })
			})
			return r.Publish(ctx, 1)
		})
	})
	require.ErrorContains(t, err, "cannot commit: disk full")
	require.Equal(t, []string{
		"BEGIN", "SAVEPOINT tidings_1", "SAVEPOINT tidings_2", "ROLLBACK TO SAVEPOINT tidings_2", "I1", "RELEASE SAVEPOINT tidings_1",
		"B1", "ROLLBACK", "R1",
	}, r.Statements())
}

func TestInTxDoomedInATransactionOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	// Only the transaction around the savepoint cannot commit. A transaction further
	// out can, and so can one that begins later.
	r := txtest.NewSQLRig(t)
	other, log := fakedb.Open(t)
	overInTx := func(ctx context.Context, body func(context.Context) error) error {
		return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return body(ctx) })
	}
	r.SQL.Fail("ROLLBACK TO", errors.New("disk full"))
	require.NoError(t, tidings.InTx(t.Context(), other, nil, func(ctx context.Context, _ *sql.Tx) error {
		err := tidings.Transact(ctx, txtest.On(overInTx), func(ctx context.Context) error {
			require.ErrorIs(t, r.InTx(ctx, func(context.Context, *sql.Tx) error { return txtest.ErrTx }), txtest.ErrTx)
			return nil
		})
		require.ErrorContains(t, err, "cannot commit: disk full")
		return nil
	}))
	require.Equal(t, []string{"BEGIN", "SAVEPOINT tidings_1", "ROLLBACK TO SAVEPOINT tidings_1", "ROLLBACK"}, r.Statements())
	require.Equal(t, []string{"BEGIN", "COMMIT"}, log.Statements())
}

func TestInTxIsolation(t *testing.T) {
	t.Parallel()
	const def, committed, serializable = sql.LevelDefault, sql.LevelReadCommitted, sql.LevelSerializable
	for _, c := range []struct {
		outer, inner, innermost sql.IsolationLevel
		ok                      [2]bool // inner, innermost
	}{
		{serializable, serializable, serializable, [2]bool{true, true}},
		{serializable, def, serializable, [2]bool{true, true}},
		{serializable, def, committed, [2]bool{true, false}},
		{serializable, committed, def, [2]bool{false, false}},
		{def, serializable, def, [2]bool{false, false}},
		{def, def, def, [2]bool{true, true}},
	} {
		t.Run(fmt.Sprintf("%v %v %v", c.outer, c.inner, c.innermost), func(t *testing.T) {
			t.Parallel()
			r := txtest.NewSQLRig(t)
			var got [2]bool
			require.NoError(t, tidings.InTx(t.Context(), r.DB, &sql.TxOptions{Isolation: c.outer}, func(ctx context.Context, _ *sql.Tx) error {
				r.Statements()
				var innermost error
				inner := tidings.InTx(ctx, r.DB, &sql.TxOptions{Isolation: c.inner}, func(ctx context.Context, _ *sql.Tx) error {
					got[0] = true
					innermost = tidings.InTx(ctx, r.DB, &sql.TxOptions{Isolation: c.innermost}, func(context.Context, *sql.Tx) error {
						got[1] = true
						return nil
					})
					return nil
				})
				if err := errors.Join(inner, innermost); err != nil {
					require.ErrorContains(t, err, "isolation level")
					require.ErrorContains(t, err, "a savepoint cannot change it")
				}
				if inner != nil {
					require.Empty(t, r.Statements(), "refused before the database is asked")
				}
				return nil
			}))
			require.Equal(t, c.ok, got)
		})
	}
}
