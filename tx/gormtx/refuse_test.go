package gormtx_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/gormtx"
)

func TestRefuse(t *testing.T) {
	run(t, []test{
		{"a database that is none", testRefuseDatabase},
		{"Commit and Rollback", testRefuseEnd},
		{"Rollback in a transaction of tidings.InTx", testRefuseEndInsideTidings},
		{"Rollback before the commit", testRefuseEndBeforeCommit},
		{"Rollback with a handle of a scope that has ended", testRefuseEndOfEnded},
		{"Begin", testRefuseBegin},
	})
}

func TestNil(t *testing.T) {
	t.Parallel()
	for _, db := range []*gorm.DB{nil, {}} {
		require.EqualError(t, gormtx.InTx(t.Context(), db, nil, func(context.Context, *gorm.DB) error { return nil }),
			"tx/gormtx: InTx with a nil *gorm.DB, or one that gorm.Open has not returned")
		require.PanicsWithValue(t, "tx/gormtx: Transactor with a nil *gorm.DB, or one that gorm.Open has not returned", func() { gormtx.Transactor(db) })
		require.PanicsWithValue(t, "tx/gormtx: From with a nil *gorm.DB, or one that gorm.Open has not returned", func() { gormtx.From(t.Context(), db) })
		require.EqualError(t, gormtx.InTx(t.Context(), db, nil, nil), "tx/gormtx: InTx with a nil function")
	}
}

// A pool does not tell GORM which database it belongs to.
type pool struct{ gorm.ConnPool }

func testRefuseDatabase(t *testing.T, f *fixture) {
	nothing := func(context.Context, *gorm.DB) error { return nil }
	requireRefused := func(t *testing.T, db *gorm.DB, text string) {
		t.Helper()
		require.ErrorContains(t, gormtx.InTx(t.Context(), db, nil, nothing), "tx/gormtx: InTx with a *gorm.DB "+text)
		err := gormtx.From(t.Context(), db).Create(&Invoice{Number: "A"}).Error
		require.ErrorContains(t, err, "tx/gormtx: From with a *gorm.DB "+text)
		require.Equal(t, 1, strings.Count(err.Error(), text))
		require.Panics(t, func() { gormtx.Transactor(db) })
	}
	require.NoError(t, f.inTx(t.Context(), func(_ context.Context, tx *gorm.DB) error {
		requireRefused(t, tx, "that is in a transaction")
		requireRefused(t, tx.Session(&gorm.Session{PrepareStmt: true}), "that is in a transaction")
		return nil
	}))
	begun := f.db.Begin()
	requireRefused(t, begun, "that is in a transaction")
	require.NoError(t, begun.Rollback().Error)
	require.NoError(t, f.db.Transaction(func(tx *gorm.DB) error {
		requireRefused(t, tx, "that is in a transaction")
		return nil
	}))
	require.NoError(t, f.db.Connection(func(conn *gorm.DB) error {
		requireRefused(t, conn, "without a *sql.DB (its pool is *sql.Conn): ")
		return nil
	}))
	unknown, err := gorm.Open(gormlite.OpenDB(pool{f.sql}), &gorm.Config{Logger: logger.Discard})
	require.NoError(t, err)
	requireRefused(t, unknown, "without a *sql.DB (its pool is gormtx_test.pool): ")
	failed := f.db.Session(&gorm.Session{})
	_ = failed.AddError(errChangedMind)
	requireRefused(t, failed, "that has failed: changed my mind")
	require.NoError(t, f.db.Error)
	f.requireCommitted(t)
}

// What ends the transaction itself does not commit, even if it ignores the error.
func testRefuseEnd(t *testing.T, f *fixture) {
	for _, tt := range []struct {
		end func(tx *gorm.DB) *gorm.DB
		err string
	}{
		{(*gorm.DB).Commit, "tx/gormtx: Commit of a transaction that InTx or Transact ends: return nil from its function instead"},
		{(*gorm.DB).Rollback, "tx/gormtx: Rollback of a transaction that InTx or Transact ends: return an error from its function instead"},
		{func(tx *gorm.DB) *gorm.DB { return tx.Session(&gorm.Session{PrepareStmt: true}).Rollback() },
			"tx/gormtx: Rollback of a transaction that InTx or Transact ends: return an error from its function instead"},
	} {
		f.dropped = nil
		require.EqualError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "A"))
			require.EqualError(t, tt.end(tx).Error, tt.err)
			return nil
		}), tt.err)
		require.EqualError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "B"))
			return tt.end(tx).Error
		}), tt.err)
		require.EqualError(t, f.transact(t.Context(), func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, gormtx.From(ctx, f.db), "C"))
			tt.end(gormtx.From(ctx, f.db))
			return nil
		}), tt.err)
		f.requireCommitted(t)
		f.requireDropped(t, "A", "B", "C")
	}

	// Only the inner scope rolls back.
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, outer *gorm.DB) error {
		require.NoError(t, f.issue(ctx, outer, "D"))
		require.ErrorContains(t, f.inTx(ctx, func(ctx context.Context, tx *gorm.DB) error {
			require.NoError(t, f.issue(ctx, tx, "E"))
			tx.Rollback()
			return nil
		}), "tx/gormtx: Rollback of a transaction")
		return nil
	}))
	f.requireCommitted(t, "D")
}

func testRefuseEndInsideTidings(t *testing.T, f *fixture) {
	require.ErrorIs(t, tidings.InTx(t.Context(), f.sql, nil, func(ctx context.Context, _ *sql.Tx) error {
		tx := gormtx.From(ctx, f.db)
		require.NoError(t, f.issue(ctx, tx, "A"))
		require.ErrorContains(t, tx.Rollback().Error, "tx/gormtx: Rollback of a transaction")
		return nil
	}), sql.ErrTxDone)
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

func testRefuseEndBeforeCommit(t *testing.T, f *fixture) {
	tidings.Subscribe(f.bus, func(ctx context.Context, _ InvoiceIssued) error {
		gormtx.From(ctx, f.db).Rollback()
		return nil
	}, tidings.BeforeCommit)
	require.ErrorIs(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error { return f.issue(ctx, tx, "A") }), sql.ErrTxDone)
	require.ErrorContains(t, f.transact(t.Context(), func(ctx context.Context) error {
		return f.issue(ctx, gormtx.From(ctx, f.db), "B")
	}), "tx/gormtx: Rollback of a transaction")
	f.requireCommitted(t)
	f.requireDropped(t, "A", "B")
}

func testRefuseEndOfEnded(t *testing.T, f *fixture) {
	require.Error(t, f.inTx(t.Context(), func(ctx context.Context, outer *gorm.DB) error {
		require.NoError(t, f.issue(ctx, outer, "A"))
		var kept *gorm.DB
		require.NoError(t, f.inTx(ctx, func(_ context.Context, tx *gorm.DB) error {
			kept = tx
			return nil
		}))
		require.ErrorContains(t, kept.Rollback().Error, "tx/gormtx: Rollback of a transaction")
		return nil
	}))
	f.requireCommitted(t)
	f.requireDropped(t, "A")
}

func testRefuseBegin(t *testing.T, f *fixture) {
	require.NoError(t, f.inTx(t.Context(), func(ctx context.Context, tx *gorm.DB) error {
		require.ErrorIs(t, tx.Begin().Error, gorm.ErrInvalidTransaction, "as in other transactions of GORM")
		return f.issue(ctx, tx, "A")
	}))
	f.requireCommitted(t, "A")
}
