package gormtx_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/gormtx"
)

func TestJoin(t *testing.T) {
	run(t, []test{
		{"inside tidings.InTx", testInsideTidings},
		{"around tidings.InTx", testAroundTidings},
		{"two databases", testTwoDatabases},
		{"another gorm.DB of the same database", testAnotherGORM},
	})
}

func TestFrom(t *testing.T) {
	run(t, []test{
		{"outside", testFromOutside},
		{"inside", testFromInside},
		{"after the end", testFromAfterTheEnd},
		{"a transaction without a scope", testFromWithTx},
		{"a scope without a transaction", testFromWithoutTx},
	})
}

func TestSandbox(t *testing.T) {
	run(t, []test{
		{"Sandbox", testSandbox},
		{"Commit", testSandboxCommit},
		{"Commit with a *gorm.DB", testCommitGORM},
	})
}

const insert = "INSERT INTO invoices (number) VALUES ($1)"

// issueSQL is issue of code with database/sql.
func (f *fixture) issueSQL(ctx context.Context, tx *sql.Tx, number string) error {
	if _, err := tx.ExecContext(ctx, insert, number); err != nil {
		return err
	}
	return tidings.Publish(ctx, f.bus, InvoiceIssued{Number: number})
}

func testInsideTidings(t *testing.T, f *fixture) {
	require.NoError(t, tidings.InTx(t.Context(), f.sql, nil, func(outer context.Context, sqlTx *sql.Tx) error {
		require.NoError(t, f.issueSQL(outer, sqlTx, "A"))
		require.NoError(t, f.issue(outer, gormtx.From(outer, f.db), "B"))
		require.ErrorIs(t, f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "C"))
			require.NoError(t, f.issueSQL(outer, sqlTx, "D"))
			return errChangedMind
		}), errChangedMind)
		return f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error { return f.issue(ctx, tx, "E") })
	}))
	f.requireCommitted(t, "A", "B", "E")
	f.requireDropped(t, "C", "D")
}

func testAroundTidings(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(outer context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(outer, tx, "A"))
		require.ErrorIs(t, tidings.InTx(outer, f.sql, nil, func(ctx context.Context, sqlTx *sql.Tx) error {
			require.NoError(t, f.issueSQL(ctx, sqlTx, "B"))
			require.NoError(t, f.issue(outer, tx, "C"))
			require.NoError(t, f.issue(ctx, gormtx.From(ctx, f.db), "D"))
			return errChangedMind
		}), errChangedMind)
		return tidings.InTx(outer, f.sql, nil, func(ctx context.Context, sqlTx *sql.Tx) error { return f.issueSQL(ctx, sqlTx, "E") })
	}))
	f.requireCommitted(t, "A", "E")
	f.requireDropped(t, "B", "C", "D")
}

// Savepoints of GORM are followed in a transaction that other code has begun, also by
// handles that know nothing of each other.
func testSavepointsInsideTidings(t *testing.T, f *fixture) {
	require.NoError(t, tidings.InTx(t.Context(), f.sql, nil, func(outer context.Context, sqlTx *sql.Tx) error {
		require.NoError(t, f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error { return tx.SavePoint("deep").Error }))
		require.NoError(t, gormtx.From(outer, f.db).SavePoint("sp").Error)
		require.NoError(t, f.issueSQL(outer, sqlTx, "A"))
		require.NoError(t, f.inTx(outer, func(ctx context.Context, tx *gorm.DB) error { return f.issue(ctx, tx, "B") }))
		require.NoError(t, gormtx.From(outer, f.db).RollbackTo("sp").Error)
		return f.issueSQL(outer, sqlTx, "C")
	}))
	f.requireCommitted(t, "C")
	f.requireDropped(t, "A", "B")
}

func testTwoDatabases(t *testing.T, f *fixture) {
	other := newFixture(t, f.kind, f.config)
	require.ErrorIs(t, f.inTx(t.Context(), func(outer context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(outer, tx, "A"))
		require.NoError(t, other.inTx(outer, func(ctx context.Context, otherTx *gorm.DB) error {
			require.NoError(t, other.issue(ctx, otherTx, "B"))
			require.NoError(t, gormtx.From(ctx, f.db).SavePoint("sp").Error)
			require.NoError(t, f.issue(outer, gormtx.From(ctx, f.db), "C"))
			require.NoError(t, tx.RollbackTo("sp").Error)
			return nil
		}))
		other.requireCommitted(t, "B")
		require.Equal(t, other.db.Statement.ConnPool, gormtx.From(outer, other.db).Statement.ConnPool)
		return errChangedMind
	}), errChangedMind)
	other.requireCommitted(t, "B")
	f.requireCommitted(t)
	f.requireDropped(t, "A", "C")
}

func testAnotherGORM(t *testing.T, f *fixture) {
	another := f.gorm(t, f.sql)
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.NoError(t, f.issue(ctx, gormtx.From(ctx, another), "B"))
		require.ErrorIs(t, gormtx.InTx(ctx, another.Session(&gorm.Session{PrepareStmt: true}), nil, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "C"))
			return errChangedMind
		}), errChangedMind)
		return nil
	}))
	f.requireCommitted(t, "A", "B")
	f.requireDropped(t, "C")
}

func testFromOutside(t *testing.T, f *fixture) {
	ctx := t.Context()
	tx := gormtx.From(ctx, f.db)
	require.Equal(t, ctx, tx.Statement.Context)
	require.Equal(t, f.db.Statement.ConnPool, tx.Statement.ConnPool)
	require.NoError(t, f.issue(ctx, tx, "A"))
	f.requireCommitted(t, "A")
}

func testFromInside(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, _ *gorm.DB) error {
		inner := context.WithValue(ctx, hookedKey{}, f.bus)
		tx := gormtx.From(inner, f.db)
		require.Equal(t, inner, tx.Statement.Context)
		require.NoError(t, tx.Create(&Invoice{Number: "A"}).Error)
		var all, chosen int64
		require.NoError(t, gormtx.From(ctx, f.db).Model(&Invoice{}).Count(&all).Error)
		require.NoError(t, gormtx.From(ctx, f.db.Model(&Invoice{}).Where("number = ?", "B")).Count(&chosen).Error)
		require.Equal(t, []int64{1, 0}, []int64{all, chosen}, "clauses of db apply")
		return nil
	}))
	require.Equal(t, []string{"A"}, f.stored(t))
}

func testFromAfterTheEnd(t *testing.T, f *fixture) {
	var kept context.Context
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, _ *gorm.DB) error {
		kept = ctx
		return nil
	}))
	require.ErrorIs(t, gormtx.From(kept, f.db).Create(&Invoice{Number: "A"}).Error, sql.ErrTxDone)
	require.ErrorIs(t, f.inTx(kept, func(context.Context, *gorm.DB) error { return nil }), tidings.ErrTxDone)
	f.requireCommitted(t)
}

// Code may add a transaction without telling the bus. No events wait for it then.
func testFromWithTx(t *testing.T, f *fixture) {
	sqlTx, err := f.sql.Begin()
	require.NoError(t, err)
	defer func() { require.NoError(t, sqlTx.Rollback()) }()
	ctx := tidings.WithTx(t.Context(), f.sql, sqlTx)
	tx := gormtx.From(ctx, f.db)
	require.NoError(t, tx.Create(&Invoice{Number: "A"}).Error)
	require.NoError(t, tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&Invoice{Number: "B"}).Error }))
	require.Empty(t, f.stored(t))
}

// The statement would take effect outside of the transaction that code has begun by hand.
func testFromWithoutTx(t *testing.T, f *fixture) {
	ctx, hook := tidings.NewTxHook(t.Context(), f.sql)
	defer hook.Rollback(ctx)
	require.ErrorContains(t, gormtx.From(ctx, f.db).Create(&Invoice{Number: "A"}).Error, "whose *sql.Tx is not in ctx")
	require.ErrorContains(t, f.inTx(ctx, func(context.Context, *gorm.DB) error { return nil }), "whose *sql.Tx is not in ctx")
	f.requireCommitted(t)
}

func testSandbox(t *testing.T, f *fixture) {
	ctx, sqlTx := tidingstest.Sandbox(t, f.sql)
	require.NoError(t, gormtx.From(ctx, f.db).Create(&Invoice{Number: "A"}).Error)
	require.NoError(t, f.inTx(ctx, func(ctx context.Context, tx *gorm.DB) error {
		require.NoError(t, f.issue(ctx, tx, "B"))
		require.NoError(t, tx.SavePoint("sp").Error)
		require.NoError(t, f.issue(ctx, gormtx.From(ctx, f.db), "C"))
		require.NoError(t, tx.RollbackTo("sp").Error)
		return nil
	}))
	require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, gormtx.From(ctx, f.db), "D"))
		return errChangedMind
	}), errChangedMind)
	require.ErrorContains(t, f.inTx(ctx, func(ctx context.Context, tx *gorm.DB) error {
		return tx.Create(&Payment{InvoiceID: 99}).Error
	}), "a COMMIT would fail")
	var count int
	require.NoError(t, sqlTx.QueryRow("SELECT count(*) FROM invoices").Scan(&count))
	require.Equal(t, 2, count)
	require.Equal(t, []string{"B"}, f.delivered)
	f.requireDropped(t, "C", "D")
	require.Empty(t, f.stored(t))
}

func testSandboxCommit(t *testing.T, f *fixture) {
	ctx, sqlTx := tidingstest.Sandbox(t, f.sql)
	require.NoError(t, tidingstest.Commit(ctx, f.sql, sqlTx, func(ctx context.Context) error {
		return f.issue(ctx, gormtx.From(ctx, f.db), "A")
	}))
	require.Equal(t, []string{"A"}, f.delivered)
	require.Empty(t, f.stored(t))
}

// The transaction of GORM is found by code that knows the *gorm.DB, and not by gormtx.
func testCommitGORM(t *testing.T, f *fixture) {
	tx := f.db.Begin()
	defer func() { require.NoError(t, tx.Rollback().Error) }()
	const text = "tx/gormtx: a test has passed a *gorm.DB to tidingstest.Commit: pass the *sql.DB and the *sql.Tx, as tidingstest.Sandbox does"
	require.NoError(t, tidingstest.Commit(t.Context(), f.db, tx, func(ctx context.Context) error {
		require.EqualError(t, f.inTx(ctx, func(context.Context, *gorm.DB) error { return nil }), text)
		require.EqualError(t, f.transact(ctx, func(context.Context) error { return nil }), text)
		require.EqualError(t, gormtx.From(ctx, f.db).Create(&Invoice{Number: "A"}).Error, text)
		return nil
	}))
}
