package sqlxtx_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tx/sqlxtx"
)

func TestCommit(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.NoError(t, sqlxtx.InTx(t.Context(), r.db, nil, func(ctx context.Context, tx *sqlx.Tx) error {
			found, ok := tidings.TxFrom[*sqlx.Tx](ctx, r.db.DB)
			require.True(t, ok)
			require.Same(t, tx, found)
			plain, ok := tidings.TxFrom[*sql.Tx](ctx, r.db.DB)
			require.True(t, ok)
			require.Same(t, tx.Tx, plain)
			require.Equal(t, r.db.DriverName(), tx.DriverName())
			require.Equal(t, r.db.Rebind("?"), tx.Rebind("?"))
			require.NoError(t, insert(ctx, tx, 1))
			require.NoError(t, r.note(ctx, 2))
			require.NoError(t, tidings.Publish(ctx, r.bus, Noted{ID: 1}))
			require.Empty(t, r.rec.Delivered())
			return tx.GetContext(ctx, new(int), tx.Rebind("SELECT id FROM notes WHERE id = ?"), 1)
		}))
		require.ElementsMatch(t, []int{1, 2}, idsOf(r.rec.Delivered()))
	})
}

func TestRollback(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.ErrorIs(t, r.in(t.Context(), func(ctx context.Context) error {
			require.NoError(t, r.note(ctx, 1))
			return errNo
		}), errNo)
		require.PanicsWithValue(t, "broken", func() {
			_ = r.in(t.Context(), func(ctx context.Context) error {
				require.NoError(t, r.note(ctx, 2))
				panic("broken")
			})
		})
		r.requireCommitted(t)
		r.requireDropped(t, 1, 2)
	})
}

func TestNested(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.NoError(t, r.in(t.Context(), func(outer context.Context) error {
			require.NoError(t, r.note(outer, 1))
			require.ErrorIs(t, r.in(outer, func(ctx context.Context) error {
				require.NoError(t, r.note(ctx, 2))
				require.NoError(t, r.note(outer, 3)) // in the savepoint too
				return errNo
			}), errNo)
			require.Error(t, r.in(outer, func(ctx context.Context) error { return r.note(ctx, 1) })) // a duplicate
			return r.in(outer, func(ctx context.Context) error {
				require.NoError(t, r.note(ctx, 4))
				return r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 5) })
			})
		}))
		r.requireCommitted(t, 1, 4, 5)
		r.requireDropped(t, 2, 3)
	})
}

// InTx and tidings.InTx nest in any order.
func TestNestedInTidings(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		plain := func(ctx context.Context, fn func(ctx context.Context) error) error {
			return tidings.InTx(ctx, r.db.DB, nil, func(ctx context.Context, _ *sql.Tx) error { return fn(ctx) })
		}
		for i, c := range []struct {
			name         string
			outer, inner func(context.Context, func(context.Context) error) error
		}{
			{"tidings outside", plain, r.in},
			{"tidings inside", r.in, plain},
		} {
			require.NoError(t, c.outer(t.Context(), func(outer context.Context) error {
				require.NoError(t, r.note(outer, 10*i+1), c.name)
				require.ErrorIs(t, c.inner(outer, func(ctx context.Context) error {
					require.NoError(t, r.note(ctx, 10*i+2), c.name)
					require.NoError(t, r.note(outer, 10*i+3), c.name)
					return errNo
				}), errNo)
				return c.inner(outer, func(ctx context.Context) error {
					require.NoError(t, r.note(ctx, 10*i+4), c.name)
					return c.outer(ctx, func(ctx context.Context) error { return r.note(ctx, 10*i+5) })
				})
			}), c.name)
		}
		r.requireCommitted(t, 1, 4, 5, 11, 14, 15)
		r.requireDropped(t, 2, 3, 12, 13)
	})
}

// A transaction that is begun by hand can be joined.
func TestInHook(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx, hook := tidings.NewTxHook(t.Context(), r.db.DB)
		require.ErrorContains(t, r.in(ctx, func(context.Context) error { return nil }), "add it with WithTx")
		tx := r.db.MustBegin()
		t.Cleanup(func() { _ = tx.Rollback() }) // if the test fails
		ctx = tidings.WithTx(ctx, r.db.DB, tx.Tx)
		require.NoError(t, r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 1) }))
		require.ErrorIs(t, r.in(ctx, func(ctx context.Context) error { return errors.Join(r.note(ctx, 2), errNo) }), errNo)
		require.NoError(t, hook.Prepare(ctx))
		require.NoError(t, tx.Commit())
		require.NoError(t, hook.Commit(ctx))
		r.requireCommitted(t, 1)
	})
}

func TestTwoDatabases(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		other := open(t, "sqlite", testdb.SQLite(filepath.Join(t.TempDir(), "other.db")))
		other.MustExec(strings.Split(tables, ";")[0])
		require.ErrorIs(t, r.in(t.Context(), func(outer context.Context) error {
			require.Same(t, other, sqlxtx.From(outer, other))
			require.NoError(t, sqlxtx.InTx(outer, other, nil, func(ctx context.Context, tx *sqlx.Tx) error {
				require.Same(t, tx, sqlxtx.From(ctx, other))
				require.NotSame(t, tx, sqlxtx.From(ctx, r.db))
				require.NoError(t, insert(ctx, tx, 1))
				return tidings.Publish(ctx, r.bus, Noted{ID: 1})
			}))
			require.Equal(t, []int{1}, idsOf(r.rec.Delivered()))
			require.NoError(t, r.note(outer, 2))
			return errNo
		}), errNo)
		require.NoError(t, other.Get(new(int), "SELECT id FROM notes WHERE id = 1"))
		require.Equal(t, []int{1}, idsOf(r.rec.Delivered()))
		r.requireDropped(t, 2)
	})
}

// Two *sqlx.DB around one *sql.DB have one transaction, each with its own settings.
func TestTwoSettings(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		lenient := r.db.Unsafe()
		var row struct{ ID int } // has no field for the text
		require.NoError(t, r.in(t.Context(), func(ctx context.Context) error {
			require.NoError(t, r.note(ctx, 1))
			strict := sqlxtx.From(ctx, r.db)
			require.Error(t, strict.GetContext(ctx, &row, "SELECT * FROM notes"))
			return sqlxtx.InTx(ctx, lenient, nil, func(ctx context.Context, tx *sqlx.Tx) error {
				return tx.GetContext(ctx, &row, "SELECT * FROM notes")
			})
		}))
		require.Equal(t, 1, row.ID)
		r.requireCommitted(t, 1)
	})
}

func TestIsolation(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		serializable := &sql.TxOptions{Isolation: sql.LevelSerializable}
		none := func(context.Context, *sqlx.Tx) error { return nil }
		require.NoError(t, sqlxtx.InTx(t.Context(), r.db, serializable, func(ctx context.Context, tx *sqlx.Tx) error {
			if tx.DriverName() == "pgx" {
				var level string
				require.NoError(t, tx.Get(&level, "SHOW transaction_isolation"))
				require.Equal(t, "serializable", level)
			}
			require.NoError(t, sqlxtx.InTx(ctx, r.db, nil, none))
			require.NoError(t, tidings.InTx(ctx, r.db.DB, serializable, func(context.Context, *sql.Tx) error { return nil }))
			return sqlxtx.InTx(ctx, r.db, serializable, none)
		}))
		require.NoError(t, sqlxtx.InTx(t.Context(), r.db, nil, func(ctx context.Context, _ *sqlx.Tx) error {
			require.ErrorContains(t, sqlxtx.InTx(ctx, r.db, serializable, none), "a savepoint cannot change it")
			return nil
		}))
	})
}

// Handlers find the transaction before the commit, in both forms, and none after it.
func TestHandlers(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for phase, inside := range map[tidings.Phase]bool{
			tidings.InTransaction: true, tidings.BeforeCommit: true, tidings.AfterCommit: false,
		} {
			tidings.Subscribe(r.bus, func(ctx context.Context, e Noted) error {
				if e.ID > 1 {
					return nil
				}
				_, ok := tidings.TxFrom[*sqlx.Tx](ctx, r.db.DB)
				require.Equal(t, inside, ok, phase)
				_, ok = tidings.TxFrom[*sql.Tx](ctx, r.db.DB)
				require.Equal(t, inside, ok, phase)
				// After the commit, this waits for the only connection of the pool.
				return r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 2+int(phase)) })
			}, phase)
		}
		require.NoError(t, r.in(t.Context(), func(ctx context.Context) error { return r.note(ctx, 1) }))
		require.Len(t, r.rec.Delivered(), 4)
		var count int
		require.NoError(t, r.observer.Get(&count, "SELECT count(*) FROM notes"))
		require.Equal(t, 4, count)
	})
}

func TestEventLog(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		registry := &tidings.Registry{}
		tidings.Register[Noted](registry, "test.noted", 1)
		database := eventlog.SQLite
		if r.db.DriverName() == "pgx" {
			database = eventlog.Postgres
		}
		log, err := eventlog.Open(t.Context(), database(r.db.DB), registry)
		require.NoError(t, err)
		log.Attach(r.bus)
		require.ErrorIs(t, r.in(t.Context(), func(ctx context.Context) error {
			return errors.Join(r.note(ctx, 1), errNo)
		}), errNo)
		require.NoError(t, r.in(t.Context(), func(ctx context.Context) error {
			require.ErrorIs(t, r.in(ctx, func(ctx context.Context) error {
				return errors.Join(r.note(ctx, 2), errNo)
			}), errNo)
			return r.note(ctx, 3)
		}))
		var logged []int
		for record, err := range log.Read(t.Context()) {
			require.NoError(t, err)
			logged = append(logged, record.Event.(Noted).ID)
		}
		require.Equal(t, []int{3}, logged)
		r.requireCommitted(t, 3)
	})
}
