package buntx_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tx/buntx"
)

func TestCommit(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		require.NoError(t, buntx.InTx(t.Context(), r.db, nil, func(ctx context.Context, tx bun.Tx) error {
			found, ok := tidings.TxFrom[bun.Tx](ctx, r.db.DB)
			require.True(t, ok)
			require.Equal(t, tx, found)
			plain, ok := tidings.TxFrom[*sql.Tx](ctx, r.db.DB)
			require.True(t, ok)
			require.Same(t, tx.Tx, plain)
			require.Equal(t, tx, buntx.From(ctx, r.db))
			require.NoError(t, insert(ctx, tx, 1))
			require.NoError(t, tidings.Publish(ctx, r.bus, Noted{ID: 1}))
			require.NoError(t, r.note(ctx, 2))
			require.Empty(t, r.rec.Delivered())
			return nil
		}))
		r.requireCommitted(t, 1, 2)
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

func TestTidingsInside(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		plain := func(ctx context.Context, fn func(ctx context.Context) error) error {
			return tidings.InTx(ctx, r.db.DB, nil, func(ctx context.Context, _ *sql.Tx) error { return fn(ctx) })
		}
		require.NoError(t, r.in(t.Context(), func(outer context.Context) error {
			require.NoError(t, r.note(outer, 1))
			require.ErrorIs(t, plain(outer, func(ctx context.Context) error {
				require.NoError(t, r.note(ctx, 2))
				require.NoError(t, r.note(outer, 3))
				return errNo
			}), errNo)
			return plain(outer, func(ctx context.Context) error {
				require.NoError(t, r.note(ctx, 4))
				return r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 5) })
			})
		}))
		r.requireCommitted(t, 1, 4, 5)
		r.requireDropped(t, 2, 3)
	})
}

// bun cannot take over the *sql.Tx of tidings.InTx, but From runs queries in it.
func TestTidingsOutside(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		hook := &recordingHook{}
		db := r.db.WithQueryHook(hook)
		require.NoError(t, tidings.InTx(t.Context(), r.db.DB, nil, func(ctx context.Context, tx *sql.Tx) error {
			const text = "that has a *sql.Tx only"
			require.ErrorContains(t, r.in(ctx, func(context.Context) error { return nil }), text)
			from := buntx.From(ctx, db)
			_, err := from.BeginTx(ctx, nil)
			require.ErrorContains(t, err, text)
			require.ErrorContains(t, from.RunInTx(ctx, nil, nil), text)
			require.NoError(t, insert(ctx, from, 1))
			_, err = from.ExecContext(ctx, "INSERT INTO notes (id) VALUES (?)", 2)
			require.NoError(t, err)
			_, err = from.NewUpdate().Model((*Note)(nil)).Set("text = ?", "changed").Where("id > 0").Exec(ctx)
			require.NoError(t, err)
			_, err = from.NewDelete().Model((*Note)(nil)).Where("id = 3").Exec(ctx)
			require.NoError(t, err)
			var id int
			require.NoError(t, from.QueryRowContext(ctx, "SELECT id FROM notes WHERE id = ?", 2).Scan(&id))
			rows, err := from.QueryContext(ctx, "SELECT id FROM notes WHERE id = ?", 2)
			require.NoError(t, err)
			require.NoError(t, db.ScanRows(ctx, rows, &id))
			require.NoError(t, from.NewRaw("SELECT id FROM notes WHERE id = ?", 2).Scan(ctx, &id))
			var notes []Note
			require.NoError(t, from.NewSelect().Model(&notes).Order("id").Scan(ctx))
			require.Equal(t, []Note{{1, "changed"}, {2, "changed"}}, notes)
			require.Equal(t, db.Dialect(), from.Dialect())
			_, err = from.NewCreateTable().Model((*struct {
				bun.BaseModel `bun:"table:others"`
				ID            int
			})(nil)).Exec(ctx)
			require.NoError(t, err)
			return errors.Join(tidings.Publish(ctx, r.bus, Noted{ID: 1}), tidings.Publish(ctx, r.bus, Noted{ID: 2}))
		}))
		r.requireCommitted(t, 1, 2)
		require.Equal(t, []string{"INSERT", "UPDATE", "DELETE", "SELECT", "SELECT", "CREATE TABLE"}, hook.operations)
	})
}

// A transaction that is begun by hand can be joined.
func TestInHook(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx, hook := tidings.NewTxHook(t.Context(), r.db.DB)
		require.ErrorContains(t, r.in(ctx, func(context.Context) error { return nil }), "add it with WithTx")
		tx, err := r.db.BeginTx(ctx, nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback() }) // if the test fails
		ctx = tidings.WithTx(ctx, r.db.DB, tx)
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
		other := bun.NewDB(open(t, "sqlite", testdb.SQLite(filepath.Join(t.TempDir(), "other.db"))), sqlitedialect.New())
		_, err := other.Exec(strings.Split(tables, ";")[0])
		require.NoError(t, err)
		require.ErrorIs(t, r.in(t.Context(), func(outer context.Context) error {
			require.Same(t, other, buntx.From(outer, other))
			require.NoError(t, buntx.InTx(outer, other, nil, func(ctx context.Context, tx bun.Tx) error {
				require.Equal(t, tx, buntx.From(ctx, other))
				require.NotEqual(t, tx, buntx.From(ctx, r.db))
				require.NoError(t, insert(ctx, tx, 1))
				return tidings.Publish(ctx, r.bus, Noted{ID: 1})
			}))
			require.Equal(t, []int{1}, idsOf(r.rec.Delivered()))
			require.NoError(t, r.note(outer, 2))
			return errNo
		}), errNo)
		count, err := other.NewSelect().Model((*Note)(nil)).Count(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, count)
		require.Empty(t, r.stored(t))
		require.Equal(t, []int{1}, idsOf(r.rec.Delivered()))
		r.requireDropped(t, 2)
	})
}

func TestIsolation(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		serializable := &sql.TxOptions{Isolation: sql.LevelSerializable}
		none := func(context.Context, bun.Tx) error { return nil }
		require.NoError(t, buntx.InTx(t.Context(), r.db, serializable, func(ctx context.Context, tx bun.Tx) error {
			if r.driver != "sqlite" {
				var level string
				require.NoError(t, tx.QueryRow("SHOW transaction_isolation").Scan(&level))
				require.Equal(t, "serializable", level)
			}
			require.NoError(t, buntx.InTx(ctx, r.db, nil, none))
			return buntx.InTx(ctx, r.db, serializable, func(ctx context.Context, _ bun.Tx) error {
				return buntx.InTx(ctx, r.db, serializable, none)
			})
		}))
		require.NoError(t, r.in(t.Context(), func(ctx context.Context) error {
			require.ErrorContains(t, buntx.InTx(ctx, r.db, serializable, none), "a savepoint cannot change it")
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
				_, ok := tidings.TxFrom[bun.Tx](ctx, r.db.DB)
				require.Equal(t, inside, ok, phase)
				_, ok = tidings.TxFrom[*sql.Tx](ctx, r.db.DB)
				require.Equal(t, inside, ok, phase)
				// After the commit, this waits for the only connection of the pool.
				return r.in(ctx, func(ctx context.Context) error { return r.note(ctx, 2+int(phase)) })
			}, phase)
		}
		require.NoError(t, r.in(t.Context(), func(ctx context.Context) error { return r.note(ctx, 1) }))
		require.Len(t, r.rec.Delivered(), 4)
		require.Len(t, r.stored(t), 4)
	})
}

func TestEventLog(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		registry := &tidings.Registry{}
		tidings.Register[Noted](registry, "test.noted", 1)
		database := eventlog.Postgres
		if r.driver == "sqlite" {
			database = eventlog.SQLite
		}
		log, err := eventlog.Open(t.Context(), database(r.db.DB), registry)
		require.NoError(t, err)
		log.Attach(r.bus)
		require.ErrorIs(t, r.in(t.Context(), func(ctx context.Context) error {
			return errors.Join(r.note(ctx, 1), errNo)
		}), errNo)
		require.NoError(t, buntx.InTx(t.Context(), r.db, nil, func(outer context.Context, tx bun.Tx) error {
			require.ErrorIs(t, tx.RunInTx(outer, nil, func(context.Context, bun.Tx) error {
				return errors.Join(r.note(outer, 2), errNo)
			}), errNo)
			return r.note(outer, 3)
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
