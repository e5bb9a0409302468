package sqlxtx

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/sqltx"
	"github.com/tidings-go/tidings/internal/testhook"
)

// InTx runs fn in a transaction of db, as [tidings.InTx] does in one of the *sql.DB behind
// it: it begins the transaction with opts, commits if fn returns nil, and rolls back
// otherwise. Events that fn publishes with its ctx are delivered after the commit.
//
// Inside another transaction of the same *sql.DB, begun by InTx, by tidings.InTx or with a
// [Transactor], InTx sets a savepoint, and rolls back to it if fn fails. Asking for another
// isolation level than the outer transaction has is an error.
//
// fn must not commit tx or roll it back: InTx returns an error then, and the events are
// dropped. InTx is safe to call concurrently and inside a handler.
func InTx(ctx context.Context, db *sqlx.DB, opts *sql.TxOptions, fn func(context.Context, *sqlx.Tx) error) error {
	if db == nil || db.DB == nil || fn == nil {
		return errors.New("tx/sqlxtx: InTx with a nil database or function")
	}
	return tidings.Transact(ctx, transactor(db, opts), func(ctx context.Context) error {
		tx, _ := tidings.TxFrom[*sqlx.Tx](ctx, db.DB)
		return fn(ctx, tx)
	})
}

// Transactor returns the [tidings.Transactor] of db: its transactions are as those of
// [InTx] without options. It panics if db is nil.
func Transactor(db *sqlx.DB) tidings.Transactor {
	if db == nil || db.DB == nil {
		panic("tx/sqlxtx: Transactor with a nil *sqlx.DB")
	}
	return transactor(db, nil)
}

// transactor adds the *sqlx.Tx to the transactions of tidings.InTx.
func transactor(db *sqlx.DB, opts *sql.TxOptions) tidings.Transactor {
	run := sqltx.TxFunc(db.DB, opts)
	return tidings.Transactor{DB: db.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
		if err := checkTest(ctx, db); err != nil {
			return err
		}
		return run(ctx, func(ctx context.Context) error {
			tx, _ := tidings.TxFrom[*sql.Tx](ctx, db.DB)
			return body(tidings.WithTx(ctx, db.DB, wrap(db, tx)))
		})
	}}
}

// checkTest returns an error if a test has replaced db by a *sqlx.Tx. tidings.InTx would
// not find the *sql.Tx in it, and would begin a transaction beside that of the test.
func checkTest(ctx context.Context, db *sqlx.DB) error {
	if _, b := testhook.TxOf[*sqlx.Tx](ctx, db.DB); b != nil {
		return errors.New("tx/sqlxtx: InTx in a test that has passed a *sqlx.Tx to tidingstest: pass the *sql.Tx in it, and the *sql.DB")
	}
	return nil
}

// Ext is what a *sqlx.DB and a *sqlx.Tx have in common, except the methods without a
// context. It is an sqlx.ExtContext, so functions such as sqlx.NamedQueryContext take it.
type Ext interface {
	sqlx.ExtContext
	sqlx.PreparerContext
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	SelectContext(ctx context.Context, dest any, query string, args ...any) error
	NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error)
	PreparexContext(ctx context.Context, query string) (*sqlx.Stmt, error)
	PrepareNamedContext(ctx context.Context, query string) (*sqlx.NamedStmt, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	MustExecContext(ctx context.Context, query string, args ...any) sql.Result
}

var (
	_ Ext = (*sqlx.DB)(nil)
	_ Ext = (*sqlx.Tx)(nil)
)

// From returns the transaction of db that ctx is in, also if tidings.InTx has begun it, or
// else db. In a context of tidingstest.Sandbox, that is the transaction of the test. From
// panics if db is nil. It is safe to call concurrently and inside a handler.
func From(ctx context.Context, db *sqlx.DB) Ext {
	if tx, ok := tidings.TxFrom[*sqlx.Tx](ctx, db.DB); ok {
		return tx
	}
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, db.DB); ok {
		return wrap(db, tx)
	}
	if tx, b := testhook.TxOf[*sqlx.Tx](ctx, db.DB); b != nil {
		return tx
	}
	if tx, b := testhook.TxOf[*sql.Tx](ctx, db.DB); b != nil {
		return wrap(db, tx)
	}
	return db
}
