package sqlxtx_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/sqlxtx"
)

func TestCancelled(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, sqlxtx.InTx(ctx, r.db, nil, func(ctx context.Context, tx *sqlx.Tx) error {
			require.NoError(t, r.note(ctx, 1))
			cancel()
			_ = tx.Rollback() // as database/sql does soon, in another goroutine
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
		err := sqlxtx.InTx(t.Context(), r.db, nil, func(ctx context.Context, tx *sqlx.Tx) error {
			tx.MustExecContext(ctx, "INSERT INTO payments VALUES (7)") // of no note
			return r.note(ctx, 1)
		})
		require.ErrorContains(t, err, "tidings: InTx: commit: ")
		r.requireCommitted(t)
		r.requireDropped(t, 1)
	})
}

// A statement has failed, and the function hides it: a commit is impossible on Postgres.
func TestSwallowedError(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		err := r.in(t.Context(), func(ctx context.Context) error {
			require.NoError(t, r.note(ctx, 1))
			require.Error(t, insert(ctx, sqlxtx.From(ctx, r.db), 1))
			return nil
		})
		if r.db.DriverName() == "sqlite" {
			require.NoError(t, err)
			r.requireCommitted(t, 1)
			return
		}
		require.Error(t, err)
		r.requireCommitted(t)
		r.requireDropped(t, 1)
	})
}

func TestEndedByFunction(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for i, end := range []func(*sqlx.Tx) error{
			func(tx *sqlx.Tx) error { return tx.Commit() },
			func(tx *sqlx.Tx) error { return tx.Rollback() },
		} {
			require.ErrorIs(t, sqlxtx.InTx(t.Context(), r.db, nil, func(ctx context.Context, tx *sqlx.Tx) error {
				require.NoError(t, r.note(ctx, i))
				return end(tx)
			}), sql.ErrTxDone)
		}
		require.Empty(t, r.rec.Delivered())
		r.requireDropped(t, 0, 1)
	})
}

func TestRetry(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		once := sqlxtx.Transactor(r.db)
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
func TestSandbox(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		t.Run("test", func(t *testing.T) {
			ctx, tx := tidingstest.Sandbox(t, r.db.DB)
			require.NoError(t, insert(ctx, sqlxtx.From(ctx, r.db), 1))
			require.NoError(t, r.in(ctx, func(ctx context.Context) error {
				require.NoError(t, r.note(ctx, 2))
				return r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 3) })
			}))
			require.Equal(t, []int{2, 3}, idsOf(r.rec.Delivered()))
			require.ErrorContains(t, sqlxtx.InTx(ctx, r.db, nil, func(ctx context.Context, tx *sqlx.Tx) error {
				tx.MustExecContext(ctx, "INSERT INTO payments VALUES (7)")
				return r.note(ctx, 4)
			}), "a COMMIT would fail")
			require.NoError(t, tidingstest.Commit(ctx, r.db.DB, tx, func(ctx context.Context) error {
				require.NoError(t, r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 5) }))
				return r.note(ctx, 6)
			}))
			var stored []int
			require.NoError(t, sqlxtx.From(ctx, r.db).SelectContext(ctx, &stored, "SELECT id FROM notes ORDER BY id"))
			require.Equal(t, []int{1, 2, 3, 5, 6}, stored)
		})
		var count int
		require.NoError(t, r.observer.Get(&count, "SELECT count(*) FROM notes"))
		require.Zero(t, count)
	})
}

// A test that passes the *sqlx.Tx would have some code outside of it.
func TestSandboxWithWrongTx(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		tx := r.db.MustBegin()
		t.Cleanup(func() { _ = tx.Rollback() }) // if the test fails
		require.NoError(t, tidingstest.Commit(t.Context(), r.db.DB, tx, func(ctx context.Context) error {
			require.Same(t, tx, sqlxtx.From(ctx, r.db))
			require.ErrorContains(t, r.in(ctx, func(context.Context) error { return nil }), "pass the *sql.Tx in it")
			return tidings.OnCommit(ctx, r.bus, func(ctx context.Context) error {
				require.Same(t, tx, sqlxtx.From(ctx, r.db))
				require.ErrorContains(t, r.in(ctx, func(context.Context) error { return nil }), "pass the *sql.Tx in it")
				return nil
			})
		}))
		require.NoError(t, tx.Rollback())
	})
}

func TestFromOutside(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.Same(t, r.db, sqlxtx.From(t.Context(), r.db))
		require.NoError(t, r.note(t.Context(), 1))
		r.requireCommitted(t, 1)
	})
}

func TestNil(t *testing.T) {
	t.Parallel()
	const text = "tx/sqlxtx: InTx with a nil database or function"
	none := func(context.Context, *sqlx.Tx) error { return nil }
	require.EqualError(t, sqlxtx.InTx(t.Context(), nil, nil, none), text)
	require.EqualError(t, sqlxtx.InTx(t.Context(), &sqlx.DB{}, nil, none), text)
	require.EqualError(t, sqlxtx.InTx(t.Context(), &sqlx.DB{DB: &sql.DB{}}, nil, nil), text)
	require.PanicsWithValue(t, "tx/sqlxtx: Transactor with a nil *sqlx.DB", func() { sqlxtx.Transactor(nil) })
}
