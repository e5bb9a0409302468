package gormtx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testhook"
)

// InTx runs fn in a transaction of db, with opts, as [tidings.InTx] does for the *sql.DB
// of db: also the rules for nested transactions, for errors and for events are the same.
// tx has the settings of db, such as its logger, callbacks and PrepareStmt, and its context
// is ctx. If ctx has no deadline, db's DefaultTransactionTimeout applies.
//
// InTx ends the transaction, and fn may not: tx.Commit and tx.Rollback return an error, and
// if fn calls one of them, InTx rolls back and returns an error too.
//
// db is not in a transaction itself. InTx is safe to call concurrently and inside a
// handler.
func InTx(ctx context.Context, db *gorm.DB, opts *sql.TxOptions, fn func(ctx context.Context, tx *gorm.DB) error) error {
	if fn == nil {
		return errors.New("tx/gormtx: InTx with a nil function")
	}
	sqlDB, err := databaseOf(db, "InTx")
	if err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, db)
	defer cancel()
	if err := checkTest(ctx, sqlDB); err != nil {
		return err
	}
	return tidings.InTx(ctx, sqlDB, opts, func(ctx context.Context, tx *sql.Tx) error {
		return inScope(ctx, sqlDB, func(ctx context.Context) error { return fn(ctx, bind(ctx, db, sqlDB, tx)) })
	})
}

// Transactor returns the [tidings.Transactor] of db, whose transactions are as those of
// [InTx] without options. Its DB is the *sql.DB of db. Code inside calls [From] for the
// transaction. Transactor panics if db is nil, has no *sql.DB, or is in a transaction.
func Transactor(db *gorm.DB) tidings.Transactor {
	sqlDB, err := databaseOf(db, "Transactor")
	if err != nil {
		panic(err.Error())
	}
	of := tidings.SQL(sqlDB)
	return tidings.Transactor{DB: sqlDB, Run: func(ctx context.Context, body func(context.Context) error) error {
		ctx, cancel := withTimeout(ctx, db)
		defer cancel()
		if err := checkTest(ctx, sqlDB); err != nil {
			return err
		}
		return of.Run(ctx, func(ctx context.Context) error { return inScope(ctx, sqlDB, body) })
	}}
}

// From returns the transaction of db that ctx is in: inside [InTx], [tidings.Transact] with
// [Transactor], and [tidings.InTx] with the *sql.DB of db. In a context of
// tidingstest.Sandbox it returns the transaction of the test, and otherwise db itself. The
// result has the settings of db, and its context is ctx.
//
// If db is in a transaction itself, or has no *sql.DB, or if the *sql.Tx of the transaction
// is not in ctx, every use of the result fails with an error that says so. From panics if
// db is nil. It is safe to call concurrently and inside a handler.
func From(ctx context.Context, db *gorm.DB) *gorm.DB {
	if !opened(db) {
		panic("tx/gormtx: From with a nil *gorm.DB, or one that gorm.Open has not returned")
	}
	sqlDB, err := databaseOf(db, "From")
	if err != nil {
		return failed(ctx, db, err)
	}
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, sqlDB); ok {
		return bind(ctx, db, sqlDB, tx)
	}
	if of, _ := tidings.TxDatabase(ctx); of == any(sqlDB) {
		return failed(ctx, db, errors.New("tx/gormtx: From inside a transaction of this database whose *sql.Tx is not in ctx: let the TxFunc, or the code that calls NewTxHook, add it with WithTx"))
	}
	if err := checkTest(ctx, sqlDB); err != nil {
		return failed(ctx, db, err)
	}
	if tx, b := testhook.TxOf[*sql.Tx](ctx, sqlDB); b != nil {
		return bind(ctx, db, sqlDB, tx)
	}
	return db.WithContext(ctx)
}

// failed returns a *gorm.DB whose uses return err.
func failed(ctx context.Context, db *gorm.DB, err error) *gorm.DB {
	result := db.WithContext(ctx)
	result.Error = err // AddError would translate it, and join it with that of db
	return result
}

func opened(db *gorm.DB) bool { return db != nil && db.Config != nil && db.Statement != nil }

// databaseOf returns the database of db, for the function of that name. A *gorm.DB cannot
// stand for it: each call of WithContext or Session returns another one.
func databaseOf(db *gorm.DB, function string) (*sql.DB, error) {
	if !opened(db) {
		return nil, fmt.Errorf("tx/gormtx: %s with a nil *gorm.DB, or one that gorm.Open has not returned", function)
	}
	if db.Error != nil {
		return nil, fmt.Errorf("tx/gormtx: %s with a *gorm.DB that has failed: %w", function, db.Error)
	}
	if _, in := db.Statement.ConnPool.(gorm.TxCommitter); in {
		return nil, fmt.Errorf("tx/gormtx: %s with a *gorm.DB that is in a transaction: pass the one from outside of it, and a ctx from inside", function)
	}
	sqlDB, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("tx/gormtx: %s with a *gorm.DB without a *sql.DB (its pool is %T): %w", function, db.Statement.ConnPool, err)
	}
	return sqlDB, nil
}

// checkTest returns an error if a test has replaced db by a *gorm.DB: the *sql.Tx behind it
// would not be found, and a transaction would begin beside that of the test.
func checkTest(ctx context.Context, db *sql.DB) error {
	for b := testhook.BaseFrom(ctx); b != nil; b = b.Outer {
		if tx, ok := b.Tx.(*gorm.DB); ok {
			if of, err := tx.DB(); err == nil && of == db {
				return errors.New("tx/gormtx: a test has passed a *gorm.DB to tidingstest.Commit: pass the *sql.DB and the *sql.Tx, as tidingstest.Sandbox does")
			}
		}
	}
	return nil
}

// withTimeout applies DefaultTransactionTimeout, as the Begin method of GORM does.
func withTimeout(ctx context.Context, db *gorm.DB) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); !has && db.DefaultTransactionTimeout > 0 {
		return context.WithTimeout(ctx, db.DefaultTransactionTimeout)
	}
	return ctx, func() {}
}
