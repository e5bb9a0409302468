package buntx_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/buntx"
)

func TestCancelled(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, buntx.InTx(ctx, r.db, nil, func(ctx context.Context, tx bun.Tx) error {
			require.NoError(t, r.note(ctx, 1))
			cancel()
			_ = tx.Tx.Rollback() // as database/sql does soon, in another goroutine
			return nil
		}), context.Canceled)
		require.ErrorIs(t, r.in(ctx, func(context.Context) error {
			t.Error("called")
			return nil
		}), context.Canceled)
		require.NoError(t, r.in(t.Context(), func(outer context.Context) error {
			ctx, cancel := context.WithCancel(outer)
			require.ErrorIs(t, r.in(ctx, func(ctx context.Context) error {
				require.NoError(t, r.note(ctx, 2))
				cancel()
				return nil
			}), context.Canceled)
			return r.note(outer, 3)
		}))
		r.requireCommitted(t, 3)
		r.requireDropped(t, 1, 2)
	})
}

func TestCommitFails(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		err := buntx.InTx(t.Context(), r.db, nil, func(ctx context.Context, tx bun.Tx) error {
			require.NoError(t, r.note(ctx, 1))
			_, err := tx.ExecContext(ctx, "INSERT INTO payments VALUES (7)") // of no note
			return err
		})
		require.ErrorContains(t, err, "tidings: commit: ")
		r.requireCommitted(t)
		r.requireDropped(t, 1)
	})
}

// A statement has failed, and the function hides it: a commit is impossible on Postgres.
// pgdriver itself returns no error then.
func TestSwallowedError(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		swallow := func(ctx context.Context, id int) error {
			require.NoError(t, r.note(ctx, id))
			require.Error(t, insert(ctx, buntx.From(ctx, r.db), id))
			return nil
		}
		err := r.in(t.Context(), func(ctx context.Context) error { return swallow(ctx, 1) })
		plain := tidings.InTx(t.Context(), r.db.DB, nil, func(ctx context.Context, _ *sql.Tx) error { return swallow(ctx, 2) })
		if r.driver == "sqlite" {
			require.NoError(t, err)
			require.NoError(t, plain)
			r.requireCommitted(t, 1, 2)
			return
		}
		require.ErrorContains(t, err, "tidings: commit: ")
		require.ErrorContains(t, plain, "tidings: InTx: commit: ")
		r.requireCommitted(t)
		r.requireDropped(t, 1, 2)
	})
}

func TestEndedByFunction(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const text = "has called Commit or Rollback of its bun.Tx"
		for i, c := range []struct {
			end  func(bun.Tx) error
			text string
		}{
			{bun.Tx.Commit, text},
			{bun.Tx.Rollback, text},
			{func(tx bun.Tx) error { return tx.Tx.Commit() }, sql.ErrTxDone.Error()},
		} {
			require.ErrorContains(t, buntx.InTx(t.Context(), r.db, nil, func(ctx context.Context, tx bun.Tx) error {
				require.NoError(t, r.note(ctx, i))
				return c.end(tx)
			}), c.text)
		}
		require.Equal(t, []int{0, 2}, r.stored(t))
		require.Empty(t, r.rec.Delivered())
		r.requireDropped(t, 0, 1, 2)
	})
}

func TestRetry(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		once := buntx.Transactor(r.db)
		retrying := tidings.Transactor{DB: once.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
			if err := once.Run(ctx, body); err == nil {
				return nil
			}
			return once.Run(ctx, body)
		}}
		attempt := 0
		require.NoError(t, tidings.Transact(t.Context(), retrying, func(ctx context.Context) error {
			attempt++
			require.NoError(t, r.note(ctx, attempt))
			if attempt == 1 {
				return errNo
			}
			return nil
		}))
		require.NoError(t, r.in(t.Context(), func(outer context.Context) error {
			require.NoError(t, r.note(outer, 3))
			return tidings.Transact(outer, retrying, func(ctx context.Context) error {
				attempt += 2
				require.NoError(t, r.note(ctx, attempt))
				if attempt == 4 {
					return errNo
				}
				return nil
			})
		}))
		r.requireCommitted(t, 2, 3, 6)
		r.requireDropped(t, 1, 4)
	})
}

// In a test, the transaction of the test replaces the database.
func TestTransactionOfTest(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tx, err := r.db.BeginTx(context.Background(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback() }) // if the test fails
		tidings.Subscribe(r.bus, func(ctx context.Context, e Noted) error {
			if e.ID > 2 {
				return nil
			}
			require.Equal(t, tx, buntx.From(ctx, r.db))
			return r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 10+e.ID) })
		})
		require.NoError(t, tidingstest.Commit(t.Context(), r.db.DB, tx, func(ctx context.Context) error {
			require.NoError(t, r.note(ctx, 1))
			require.NoError(t, r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 2) }))
			require.ErrorIs(t, r.in(ctx, func(ctx context.Context) error { return errors.Join(r.note(ctx, 3), errNo) }), errNo)
			require.Empty(t, r.rec.Delivered())
			return nil
		}))
		require.Equal(t, []int{1, 11, 2, 12}, idsOf(r.rec.Delivered()))
		r.requireDropped(t, 3)
		count, err := tx.NewSelect().Model((*Note)(nil)).Count(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 4, count)
		require.NoError(t, tx.Rollback())
		require.Empty(t, r.stored(t))
	})
}

// From works in a sandbox of database/sql, and InTx says why it does not.
func TestSandbox(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		t.Run("test", func(t *testing.T) {
			ctx, _ := tidingstest.Sandbox(t, r.db.DB)
			require.ErrorContains(t, r.in(ctx, func(context.Context) error { return nil }), "a test whose transaction is a *sql.Tx: begin it with BeginTx")
			require.NoError(t, r.note(ctx, 1))
			require.NoError(t, tidings.InTx(ctx, r.db.DB, nil, func(ctx context.Context, _ *sql.Tx) error { return r.note(ctx, 2) }))
			require.Equal(t, []int{1, 2}, idsOf(r.rec.Delivered()))
			count, err := buntx.From(ctx, r.db).NewSelect().Model((*Note)(nil)).Count(ctx)
			require.NoError(t, err)
			require.EqualValues(t, 2, count)
		})
		require.Empty(t, r.stored(t))
	})
}

func TestFromOutside(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.Same(t, r.db, buntx.From(t.Context(), r.db))
		require.NoError(t, r.note(t.Context(), 1))
		r.requireCommitted(t, 1)
	})
}

func TestNil(t *testing.T) {
	t.Parallel()
	const text = "tx/buntx: InTx with a nil database or function"
	none := func(context.Context, bun.Tx) error { return nil }
	require.EqualError(t, buntx.InTx(t.Context(), nil, nil, none), text)
	require.EqualError(t, buntx.InTx(t.Context(), &bun.DB{}, nil, nil), text)
	require.PanicsWithValue(t, "tx/buntx: Transactor with a nil *bun.DB", func() { buntx.Transactor(nil) })
}
