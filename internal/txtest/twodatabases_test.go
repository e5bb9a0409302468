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

// newTwoDBs returns databases that note their statements in one log, with
// handlers after commit and rollback.
func newTwoDBs(t *testing.T) (r *txtest.Rig, a, b *sql.DB) {
	r = txtest.NewRig()
	for name, db := range map[string]**sql.DB{"a": &a, "b": &b} {
		var log *fakedb.Log
		*db, log = fakedb.Open(t)
		(*db).SetMaxOpenConns(1)
		for _, s := range []string{"BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK TO", "ROLLBACK"} {
			log.On(s, func() error { r.Note("%s@%s", s, name); return nil })
		}
	}
	for phase, word := range map[tidings.Phase]string{tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
		r.On(phase, word, func(ctx context.Context, _ txtest.Event) error {
			if _, in := tidings.TxDatabase(ctx); in {
				return errors.New("in a transaction")
			}
			return nil
		})
	}
	t.Cleanup(func() { require.Empty(t, r.Reported()) })
	return r, a, b
}

func TestInTxOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		a, b error
		want string
	}{
		{"both commit", nil, nil, "BEGIN@a BEGIN@b COMMIT@b C2 COMMIT@a C1 C3"},
		{"b fails", nil, txtest.ErrTx, "BEGIN@a BEGIN@b ROLLBACK@b R2 COMMIT@a C1 C3"},
		{"a fails", txtest.ErrTx, nil, "BEGIN@a BEGIN@b COMMIT@b C2 ROLLBACK@a R1 R3"},
		{"both fail", txtest.ErrTx, txtest.ErrTx, "BEGIN@a BEGIN@b ROLLBACK@b R2 ROLLBACK@a R1 R3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, a, b := newTwoDBs(t)
			require.ErrorIs(t, tidings.InTx(t.Context(), a, nil, func(ctx context.Context, ofA *sql.Tx) error {
				r.MustPublish(ctx, t, 1)
				require.ErrorIs(t, tidings.InTx(ctx, b, nil, func(ctx context.Context, ofB *sql.Tx) error {
					require.NotSame(t, ofA, ofB)
					got, _ := tidings.TxFrom[*sql.Tx](ctx, b)
					require.Same(t, ofB, got)
					got, _ = tidings.TxFrom[*sql.Tx](ctx, a)
					require.Same(t, ofA, got)
					innermost, _ := tidings.TxDatabase(ctx)
					require.Same(t, b, innermost)
					r.MustPublish(ctx, t, 2)
					return c.b
				}), c.b)
				r.MustPublish(ctx, t, 3)
				return c.a
			}), c.a)
			require.Equal(t, c.want, r.Log())
		})
	}
}

func TestInTxOfTwoDatabasesInTurn(t *testing.T) {
	t.Parallel()
	nest := func(r *txtest.Rig, ctx context.Context, n int, ends map[int]error, dbs ...*sql.DB) error {
		var scope func(ctx context.Context, i int) error
		scope = func(ctx context.Context, i int) error {
			return tidings.InTx(ctx, dbs[i], nil, func(ctx context.Context, _ *sql.Tx) error {
				if err := r.Publish(ctx, n+i); err != nil {
					return err
				}
				if i+1 < len(dbs) {
					if err := scope(ctx, i+1); !errors.Is(err, ends[i+1]) {
						return fmt.Errorf("scope %d: %w", i+1, err)
					}
				}
				return ends[i]
			})
		}
		return scope(ctx, 0)
	}
	t.Run("a b a", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, nil, a, b, a))
		require.Equal(t, "BEGIN@a BEGIN@b SAVEPOINT@a RELEASE@a COMMIT@b C2 COMMIT@a C1 C3", r.Log())
	})
	t.Run("a b a, b fails", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, map[int]error{1: txtest.ErrTx}, a, b, a))
		require.Equal(t, "BEGIN@a BEGIN@b SAVEPOINT@a RELEASE@a ROLLBACK@b R2 COMMIT@a C1 C3", r.Log(),
			"what the inner scope of a did is part of a alone")
	})
	t.Run("a b a, the inner a fails", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, map[int]error{2: txtest.ErrTx}, a, b, a))
		require.Equal(t, "BEGIN@a BEGIN@b SAVEPOINT@a ROLLBACK TO@a RELEASE@a COMMIT@b C2 COMMIT@a C1 R3", r.Log())
	})
	t.Run("a a b a b, in the middle fails", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, map[int]error{1: txtest.ErrTx}, a, a, b, a, b))
		require.Equal(t, "BEGIN@a SAVEPOINT@a BEGIN@b SAVEPOINT@a SAVEPOINT@b RELEASE@b RELEASE@a COMMIT@b C3 C5 "+
			"ROLLBACK TO@a RELEASE@a COMMIT@a C1 R2 R4", r.Log(), "takes along the scope of a inside of it, and nothing of b")
	})
}
