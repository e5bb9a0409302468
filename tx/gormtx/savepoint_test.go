package gormtx_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/gormtx"
)

func TestSavepoints(t *testing.T) {
	run(t, []test{
		{"transaction of GORM", testTransactionOfGORM},
		{"panic", testNativePanic},
		{"inside each other", testMixed},
		{"by name", testByName},
		{"statements", testStatements},
		{"through several handles", testSeveralHandles},
		{"of code with database/sql", testSavepointsInsideTidings},
		{"prepared", testPreparedSavepoint},
		{"after the context has ended", testEndedContext},
		{"that do not exist", testUnknownSavepoint},
		{"of a transaction that has ended", testSavepointOfEnded},
	})
}

func TestHooks(t *testing.T) {
	run(t, []test{
		{"deliver", testHooksDeliver},
		{"roll back", testHooksRollBack},
		{"in batches", testCreateInBatches},
		{"batch fails", testBatchFails},
		{"found in batches", testFindInBatches},
	})
}

type hookedKey struct{}

// hooked lets the hooks of Invoice publish on bus.
func hooked(ctx context.Context, bus *tidings.EventBus) context.Context {
	return context.WithValue(ctx, hookedKey{}, bus)
}

func (i *Invoice) BeforeCreate(tx *gorm.DB) error { return i.hook(tx, "before ") }
func (i *Invoice) AfterCreate(tx *gorm.DB) error  { return i.hook(tx, "after ") }

func (i *Invoice) hook(tx *gorm.DB, when string) error {
	ctx := tx.Statement.Context
	bus, ok := ctx.Value(hookedKey{}).(*tidings.EventBus)
	if !ok {
		return nil
	}
	return tidings.Publish(ctx, bus, InvoiceIssued{Number: when + i.Number})
}

func testTransactionOfGORM(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.ErrorIs(t, tx.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "B"))
			require.NoError(t, f.issue(tx.Statement.Context, tx, "C"))
			return errChangedMind
		}), errChangedMind)
		require.NoError(t, f.issue(ctx, tx, "D"))
		return tx.Transaction(func(tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "E"))
			return tx.Transaction(func(tx *gorm.DB) error { return f.issue(ctx, tx, "F") })
		})
	}))
	if f.nests() {
		f.requireCommitted(t, "A", "D", "E", "F")
		f.requireDropped(t, "B", "C")
	} else { // GORM calls the function, and does not undo anything
		f.requireCommitted(t, "A", "B", "C", "D", "E", "F")
	}
}

func testNativePanic(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.Panics(t, func() {
			_ = tx.Transaction(func(tx *gorm.DB) error {
				require.NoError(t, f.issue(ctx, tx, "A"))
				panic("no")
			})
		})
		return f.issue(ctx, tx, "B")
	}))
	if f.nests() {
		f.requireCommitted(t, "B")
		f.requireDropped(t, "A")
	} else {
		f.requireCommitted(t, "A", "B")
	}
}

// Savepoints of GORM and of tidings nest in any order.
func testMixed(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(outer context.Context, outerTx *gorm.DB) error {
		require.NoError(t, outerTx.SavePoint("sp").Error)
		require.NoError(t, f.issue(outer, outerTx, "A"))
		require.ErrorIs(t, f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, tx.SavePoint("sp").Error)
			require.NoError(t, f.issue(outer, tx, "B"))
			require.NoError(t, tx.RollbackTo("sp").Error)
			require.NoError(t, f.issue(ctx, outerTx, "C"))
			return errChangedMind
		}), errChangedMind)
		require.NoError(t, f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, tx.SavePoint("deep").Error)
			require.NoError(t, f.issue(outer, tx, "D"))
			require.NoError(t, tx.RollbackTo("deep").Error)
			return f.issue(ctx, tx, "E")
		}))
		require.NoError(t, f.issue(outer, outerTx, "F"))
		return nil
	}))
	f.requireCommitted(t, "A", "E", "F")
	f.requireDropped(t, "B", "C", "D")
}

func testByName(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.NoError(t, tx.SavePoint("one").Error)
		require.NoError(t, f.issue(ctx, tx, "B"))
		require.NoError(t, tx.SavePoint("two").Error)
		require.NoError(t, f.issue(ctx, tx, "C"))
		require.NoError(t, tx.RollbackTo("two").Error)
		require.NoError(t, f.issue(ctx, tx, "D"))
		require.NoError(t, tx.RollbackTo("one").Error)
		require.NoError(t, f.issue(ctx, tx, "E"))
		require.NoError(t, tx.RollbackTo("one").Error)
		return f.issue(ctx, tx, "F")
	}))
	f.requireCommitted(t, "A", "F")
	f.requireDropped(t, "B", "C", "D", "E")
}

func testStatements(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, tx.Exec("SAVEPOINT one").Error)
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.NoError(t, tx.Exec("ROLLBACK TO SAVEPOINT one").Error)
		require.NoError(t, f.issue(ctx, tx, "B"))
		require.NoError(t, tx.Exec("RELEASE SAVEPOINT one").Error)
		return f.issue(ctx, tx, "C")
	}))
	f.requireCommitted(t, "B", "C")
	f.requireDropped(t, "A")
}

// A savepoint is set with one handle, and rolled back with another.
func testSeveralHandles(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(outer context.Context, tx *gorm.DB) error {
		return f.inTx(outer, func(ctx context.Context, _ *gorm.DB) error {
			require.NoError(t, gormtx.From(ctx, f.db).SavePoint("sp").Error)
			require.NoError(t, f.issue(outer, tx, "A"))
			require.NoError(t, gormtx.From(outer, f.db).RollbackTo("sp").Error)
			return f.issue(ctx, tx, "B")
		})
	}))
	f.requireCommitted(t, "B")
	f.requireDropped(t, "A")
}

// A prepared statement would set a savepoint unseen.
func testPreparedSavepoint(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		prepared := tx.Session(&gorm.Session{PrepareStmt: true})
		require.ErrorContains(t, prepared.Exec("SAVEPOINT one").Error, "cannot be prepared")
		require.NoError(t, prepared.SavePoint("one").Error)
		require.NoError(t, f.issue(ctx, prepared, "A"))
		require.NoError(t, prepared.RollbackTo("one").Error)
		return f.issue(ctx, prepared, "B")
	}))
	f.requireCommitted(t, "B")
	f.requireDropped(t, "A")
}

// GORM ignores that RollbackTo fails, so it must not.
func testEndedContext(t *testing.T, f *fixture) {
	if !f.nests() {
		return
	}
	require.NoError(t, f.inTx(t.Context(), func(outer context.Context, tx *gorm.DB) error {
		ctx, end := context.WithCancel(outer)
		require.ErrorIs(t, tx.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "A"))
			end()
			return tx.Create(&Invoice{Number: "B"}).Error
		}), context.Canceled)
		require.ErrorIs(t, tx.WithContext(ctx).Transaction(func(inner *gorm.DB) error {
			require.NoError(t, f.issue(outer, tx, "C"))
			return inner.Create(&Invoice{Number: "D"}).Error
		}), context.Canceled)
		return f.issue(outer, tx, "E")
	}))
	f.requireCommitted(t, "E")
	f.requireDropped(t, "A", "C")
}

// What should be undone must not be committed.
func testUnknownSavepoint(t *testing.T, f *fixture) {
	require.ErrorContains(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		tx.RollbackTo("unknown")
		return nil
	}), "tx/gormtx: ROLLBACK TO SAVEPOINT unknown has failed, so the transaction cannot commit: ")
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

// The reason why the transaction cannot commit is that it has ended, and not the savepoint.
func testSavepointOfEnded(t *testing.T, f *fixture) {
	err := f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.NoError(t, tx.SavePoint("sp").Error)
		sqlTx, ok := tidings.TxFrom[*sql.Tx](ctx, f.sql)
		require.True(t, ok)
		require.NoError(t, sqlTx.Rollback())
		tx.RollbackTo("sp")
		return nil
	})
	require.ErrorIs(t, err, sql.ErrTxDone)
	require.ErrorContains(t, err, "tidings: InTx: commit: ")
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

func testHooksDeliver(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(hooked(t.Context(), f.bus), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, tx.Create(&Invoice{Number: "A"}).Error)
		require.Empty(t, f.delivered)
		return nil
	}))
	require.Equal(t, []string{"before A", "after A"}, f.delivered)
	require.Equal(t, []string{"A"}, f.stored(t))
}

func testHooksRollBack(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(hooked(t.Context(), f.bus), func(ctx context.Context, outer *gorm.DB) error {
		require.NoError(t, outer.Create(&Invoice{Number: "A"}).Error)
		require.ErrorIs(t, f.inTx(ctx, func(_ context.Context, tx *gorm.DB) error {
			require.NoError(t, tx.Create(&Invoice{Number: "B"}).Error)
			require.NoError(t, outer.Create(&Invoice{Number: "C"}).Error)
			return errChangedMind
		}), errChangedMind)
		if f.nests() {
			require.ErrorIs(t, outer.Transaction(func(tx *gorm.DB) error {
				require.NoError(t, tx.Create(&Invoice{Number: "D"}).Error)
				return errChangedMind
			}), errChangedMind)
		}
		return nil
	}))
	require.Equal(t, []string{"before A", "after A"}, f.delivered)
	require.Equal(t, []string{"A"}, f.stored(t))
	dropped := []string{"before B", "after B", "before C", "after C"}
	if f.nests() {
		dropped = append(dropped, "before D", "after D")
	}
	f.requireDropped(t, dropped...)
}

func testCreateInBatches(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(hooked(t.Context(), f.bus), func(ctx context.Context, tx *gorm.DB) error {
		return tx.CreateInBatches([]Invoice{{Number: "A"}, {Number: "B"}, {Number: "C"}}, 2).Error
	}))
	require.Equal(t, []string{"before A", "before B", "after A", "after B", "before C", "after C"}, f.delivered)
	require.Equal(t, []string{"A", "B", "C"}, f.stored(t))
}

// CreateInBatches makes a nested transaction of the batches, unless a setting says no.
func testBatchFails(t *testing.T, f *fixture) {
	nested := f.nests() && !f.config.SkipDefaultTransaction
	err := f.inTx(hooked(t.Context(), f.bus), func(ctx context.Context, tx *gorm.DB) error {
		err := tx.Session(&gorm.Session{}).CreateInBatches([]Invoice{{Number: "A"}, {Number: "B"}, {Number: "A"}}, 2).Error
		require.Error(t, err)
		if !nested {
			return err
		}
		return tx.Create(&Invoice{Number: "D"}).Error
	})
	dropped := []string{"before A", "before B", "after A", "after B", "before A"}
	f.requireDropped(t, dropped...)
	if nested {
		require.NoError(t, err)
		require.Equal(t, []string{"before D", "after D"}, f.delivered)
		require.Equal(t, []string{"D"}, f.stored(t))
	} else {
		require.Error(t, err)
		require.Empty(t, f.delivered)
		require.Empty(t, f.stored(t))
	}
}

func testFindInBatches(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(_ context.Context, tx *gorm.DB) error {
		require.NoError(t, tx.Create([]Invoice{{Number: "A"}, {Number: "B"}, {Number: "C"}}).Error)
		var found []Invoice
		return tx.FindInBatches(&found, 2, func(tx *gorm.DB, _ int) error {
			for _, invoice := range found {
				if err := tidings.Publish(tx.Statement.Context, f.bus, InvoiceIssued{Number: invoice.Number}); err != nil {
					return err
				}
			}
			require.Empty(t, f.delivered)
			return nil
		}).Error
	}))
	f.requireCommitted(t, "A", "B", "C")
}
