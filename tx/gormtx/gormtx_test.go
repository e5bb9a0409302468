package gormtx_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/gormtx"
)

func TestInTx(t *testing.T) {
	run(t, []test{
		{"commit", testCommit},
		{"rollback", testRollback},
		{"panic", testPanic},
		{"nested", testNested},
		{"context", testContext},
		{"settings", testSettings},
		{"sessions", testSessions},
		{"prepared statements", testPrepared},
		{"preload", testPreload},
		{"deferred constraint", testDeferredConstraint},
		{"cancelled", testCancelled},
		{"handler opens a transaction", testHandlerOpensTransaction},
		{"options", testOptions},
		{"timeout", testTimeout},
	})
}

func TestTransactor(t *testing.T) {
	run(t, []test{
		{"commit and rollback", testTransact},
		{"nested", testTransactNested},
		{"retry", testRetry},
		{"handlers in the transaction", testHandlersInside},
	})
}

func testCommit(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.Empty(t, f.delivered)
		require.Empty(t, f.stored(t))
		return f.issue(ctx, tx, "B")
	}))
	f.requireCommitted(t, "A", "B")
	f.requireDropped(t)
}

func testRollback(t *testing.T, f *fixture) {
	require.ErrorIs(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		return errChangedMind
	}), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error { return f.issue(ctx, tx, "A") }))
	f.requireCommitted(t, "A")
}

func testPanic(t *testing.T, f *fixture) {
	for _, end := range []func(){func() { panic("no") }, runtime.Goexit} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }()
			_ = f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
				if f.issue(ctx, tx, "A") == nil {
					end()
				}
				return nil
			})
		}()
		<-done
	}
	f.requireCommitted(t)
	f.requireDropped(t, "A", "A")
}

func testNested(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(outer context.Context, outerTx *gorm.DB) error {
		require.NoError(t, f.issue(outer, outerTx, "A"))
		require.ErrorIs(t, f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "B"))
			require.NoError(t, f.issue(outer, outerTx, "C"))
			return errChangedMind
		}), errChangedMind)
		return f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error { return f.issue(ctx, tx, "D") })
	}))
	f.requireCommitted(t, "A", "D")
	f.requireDropped(t, "B", "C")
}

func testContext(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.Equal(t, ctx, tx.Statement.Context)
		sqlTx, ok := tidings.TxFrom[*sql.Tx](ctx, f.sql)
		require.True(t, ok)
		require.NotNil(t, sqlTx)
		of, err := tx.DB()
		require.NoError(t, err)
		require.Same(t, f.sql, of)
		return f.inTx(ctx, func(inner context.Context, tx *gorm.DB) error {
			require.Equal(t, inner, tx.Statement.Context)
			require.NotEqual(t, ctx, inner)
			return nil
		})
	}))
	require.NotNil(t, f.db.Statement.Context)
	_, in := f.db.Statement.ConnPool.(gorm.TxCommitter)
	require.False(t, in, "db itself has not changed")
}

// The transaction has the settings of db.
func testSettings(t *testing.T, f *fixture) {
	var created []string
	require.NoError(t, f.db.Callback().Create().After("gorm:create").Register("tests:note", func(tx *gorm.DB) {
		created = append(created, tx.Statement.Dest.(*Invoice).Number)
	}))
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	db := f.db.Session(&gorm.Session{NowFunc: func() time.Time { return now }})
	require.NoError(t, gormtx.InTx(t.Context(), db, nil, func(ctx context.Context, tx *gorm.DB) error {
		require.Equal(t, now, tx.NowFunc())
		require.Equal(t, f.config.PrepareStmt, tx.PrepareStmt)
		require.Equal(t, f.config.SkipDefaultTransaction, tx.SkipDefaultTransaction)
		require.Equal(t, f.config.DisableNestedTransaction, tx.DisableNestedTransaction)
		return f.issue(ctx, tx, "A")
	}))
	require.Equal(t, []string{"A"}, created)
}

// What is derived from tx is in the transaction, which has the only connection.
func testSessions(t *testing.T, f *fixture) {
	require.ErrorIs(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, tx.Clauses(clause.Returning{}).Create(&Invoice{Number: "A"}).Error)
		for _, derived := range []*gorm.DB{
			tx,
			tx.Session(&gorm.Session{NewDB: true}),
			tx.Session(&gorm.Session{PrepareStmt: true}),
			tx.Session(&gorm.Session{PrepareStmt: true}).Session(&gorm.Session{SkipHooks: true}),
			tx.Session(&gorm.Session{SkipDefaultTransaction: true}),
			tx.WithContext(context.WithoutCancel(ctx)),
			tx.Debug(),
			gormtx.From(ctx, f.db),
			gormtx.From(ctx, f.db.Session(&gorm.Session{PrepareStmt: true})),
		} {
			for range 2 { // a prepared statement is used again
				var count int64
				require.NoError(t, derived.Model(&Invoice{}).Where("number = ?", "A").Count(&count).Error)
				require.EqualValues(t, 1, count)
				var number string
				require.NoError(t, derived.Raw("SELECT number FROM invoices").Row().Scan(&number))
				require.Equal(t, "A", number)
			}
			require.NoError(t, derived.Transaction(func(tx *gorm.DB) error {
				return tx.Model(&Invoice{}).Where("number = ?", "A").Update("number", "A").Error
			}))
		}
		require.True(t, tx.Migrator().HasTable("invoices"))
		return errChangedMind
	}), errChangedMind)
	f.requireCommitted(t)
}

// With PrepareStmt, the statements of a transaction are prepared once for all transactions,
// except those of savepoints.
func testPrepared(t *testing.T, f *fixture) {
	for _, number := range []string{"A", "B"} {
		require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, tx.Transaction(func(tx *gorm.DB) error { return f.issue(ctx, tx, number) }))
			require.NoError(t, tx.Exec("SAVEPOINT one").Error)
			return tx.Model(&Invoice{}).Where("number = ?", number).First(&Invoice{}).Error
		}))
	}
	f.requireCommitted(t, "A", "B")
	prepared, ok := f.db.ConnPool.(*gorm.PreparedStmtDB)
	require.Equal(t, f.config.PrepareStmt, ok)
	if ok {
		require.Len(t, prepared.Stmts.Keys(), 2, "INSERT and SELECT: %q", prepared.Stmts.Keys())
	}
}

func testPreload(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(_ context.Context, tx *gorm.DB) error {
		require.NoError(t, tx.Create(&Invoice{Number: "A", Payments: []Payment{{}, {}}}).Error)
		var found []Invoice
		require.NoError(t, tx.Preload("Payments").Find(&found).Error)
		require.Len(t, found, 1)
		require.Len(t, found[0].Payments, 2)
		require.NoError(t, tx.Save(&found[0]).Error)
		return tx.Select(clause.Associations).Delete(&found[0]).Error
	}))
	f.requireCommitted(t)
}

func testDeferredConstraint(t *testing.T, f *fixture) {
	for _, insideOf := range []func(context.Context, func(context.Context) error) error{
		f.transact,
		func(ctx context.Context, fn func(context.Context) error) error {
			return f.inTx(ctx, func(ctx context.Context, _ *gorm.DB) error { return fn(ctx) })
		},
	} {
		require.ErrorContains(t, insideOf(t.Context(), func(ctx context.Context) error {
			tx := gormtx.From(ctx, f.db)
			require.NoError(t, f.issue(ctx, tx, "A"))
			return tx.Create(&Payment{InvoiceID: 99}).Error
		}), "commit")
	}
	f.requireCommitted(t)
	f.requireDropped(t, "A", "A")
}

func testCancelled(t *testing.T, f *fixture) {
	ended, end := context.WithCancel(t.Context())
	end()
	require.ErrorIs(t, f.inTx(ended, func(context.Context, *gorm.DB) error { return nil }), context.Canceled)

	inside, end := context.WithCancel(t.Context())
	require.ErrorIs(t, f.inTx(inside, func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		end()
		return tx.Create(&Invoice{Number: "B"}).Error
	}), context.Canceled)

	// The outer transaction has another context, and goes on.
	require.NoError(t, f.inTx(t.Context(), func(outer context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(outer, tx, "C"))
		inner, end := context.WithCancel(outer)
		require.ErrorIs(t, f.inTx(inner, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "D"))
			end()
			return ctx.Err()
		}), context.Canceled)
		return f.issue(outer, tx, "E")
	}))
	f.requireCommitted(t, "C", "E")
	f.requireDropped(t, "A", "D")
}

func testHandlerOpensTransaction(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
		if len(e.Number) > 1 {
			return nil
		}
		return f.inTx(ctx, func(ctx context.Context, tx *gorm.DB) error { return f.issue(ctx, tx, e.Number+"2") })
	})
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error { return f.issue(ctx, tx, "A") }))
	f.requireCommitted(t, "A", "A2")
}

func testOptions(t *testing.T, f *fixture) {
	require.NoError(t, gormtx.InTx(t.Context(), f.db, &sql.TxOptions{Isolation: sql.LevelSerializable}, func(ctx context.Context, tx *gorm.DB) error {
		require.ErrorContains(t, gormtx.InTx(ctx, f.db, &sql.TxOptions{Isolation: sql.LevelReadCommitted}, func(context.Context, *gorm.DB) error {
			return nil
		}), "isolation level")
		return f.issue(ctx, tx, "A")
	}))
	f.requireCommitted(t, "A")
}

// DefaultTransactionTimeout of GORM applies, but not to what runs after the commit.
func testTimeout(t *testing.T, f *fixture) {
	db := f.db.Session(&gorm.Session{})
	db.DefaultTransactionTimeout = time.Hour
	tidings.Subscribe(f.bus, func(ctx context.Context, _ InvoiceIssued) error {
		_, has := ctx.Deadline()
		require.False(t, has)
		return nil
	})
	for _, insideOf := range []func(fn func(context.Context) error) error{
		func(fn func(context.Context) error) error {
			return gormtx.InTx(t.Context(), db, nil, func(ctx context.Context, _ *gorm.DB) error { return fn(ctx) })
		},
		func(fn func(context.Context) error) error {
			return tidings.Transact(t.Context(), gormtx.Transactor(db), fn)
		},
	} {
		require.NoError(t, insideOf(func(ctx context.Context) error {
			deadline, has := ctx.Deadline()
			require.True(t, has)
			require.Greater(t, time.Until(deadline), time.Minute)
			return tidings.Publish(ctx, f.bus, InvoiceIssued{Number: "A"})
		}))
	}
	require.Equal(t, []string{"A", "A"}, f.delivered)
	require.Empty(t, f.failed)
}

func testTransact(t *testing.T, f *fixture) {
	require.Equal(t, f.sql, gormtx.Transactor(f.db).DB)
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, gormtx.From(ctx, f.db), "A") }))
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, gormtx.From(ctx, f.db), "B"))
		return errChangedMind
	}), errChangedMind)
	f.requireCommitted(t, "A")
	f.requireDropped(t, "B")
}

func testTransactNested(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(outer context.Context) error {
		require.NoError(t, f.issue(outer, gormtx.From(outer, f.db), "A"))
		require.ErrorIs(t, f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error {
			return f.transact(ctx, func(ctx context.Context) error {
				require.NoError(t, f.issue(ctx, gormtx.From(ctx, f.db), "B"))
				require.NoError(t, f.issue(outer, tx, "C"))
				return errChangedMind
			})
		}), errChangedMind)
		return f.transact(outer, func(ctx context.Context) error { return f.issue(ctx, gormtx.From(ctx, f.db), "D") })
	}))
	f.requireCommitted(t, "A", "D")
	f.requireDropped(t, "B", "C")
}

// A Transactor can be wrapped in one that calls it again.
func testRetry(t *testing.T, f *fixture) {
	errBusy := errors.New("busy")
	inner := gormtx.Transactor(f.db)
	retrying := tidings.Transactor{DB: inner.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
		for {
			if err := inner.Run(ctx, body); !errors.Is(err, errBusy) {
				return err
			}
		}
	}}
	attempts := 0
	require.NoError(t, tidings.Transact(t.Context(), retrying, func(ctx context.Context) error {
		tx := gormtx.From(ctx, f.db)
		require.NoError(t, f.issue(ctx, tx, "A"))
		tx.SavePoint("sp")
		require.NoError(t, f.issue(ctx, tx, "B"))
		if attempts++; attempts < 3 {
			return errBusy
		}
		require.NoError(t, tx.RollbackTo("sp").Error)
		return nil
	}))
	f.requireCommitted(t, "A")
	f.requireDropped(t, "A", "B", "A", "B", "B")
}

// Handlers in the transaction find it.
func testHandlersInside(t *testing.T, f *fixture) {
	for _, phase := range []tidings.SubscribeOption{tidings.InTransaction, tidings.BeforeCommit} {
		tidings.Subscribe(f.bus, func(ctx context.Context, e InvoiceIssued) error {
			return gormtx.From(ctx, f.db).Exec("INSERT INTO payments (invoice_id) SELECT id FROM invoices WHERE number = ?", e.Number).Error
		}, phase)
	}
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, gormtx.From(ctx, f.db), "A") }))
	require.ErrorIs(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "B"))
		return errChangedMind
	}), errChangedMind)
	f.requireCommitted(t, "A")
	var payments int
	require.NoError(t, f.observer.QueryRow("SELECT count(*) FROM payments").Scan(&payments))
	require.Equal(t, 2, payments)
}
