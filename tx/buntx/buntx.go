package buntx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testhook"
)

// InTx runs fn in a transaction of db. It begins the transaction with opts, commits if fn
// returns nil, and rolls back otherwise. Events that fn publishes with its ctx are delivered
// after the commit; [tidings.Transact] has the details.
//
// Inside another transaction that InTx or a [Transactor] has begun on the same *sql.DB, InTx
// sets a savepoint, and rolls back to it if fn fails. The outer transaction's options apply
// then, and asking for another isolation level is an error. Inside a transaction of
// tidings.InTx on the same *sql.DB, InTx returns an error.
//
// fn must not commit tx or roll it back. InTx returns an error then, and the events are
// dropped, although the rows stay if fn has committed. The query hooks of db see all
// statements. InTx is safe to call concurrently and inside a handler.
func InTx(ctx context.Context, db *bun.DB, opts *sql.TxOptions, fn func(context.Context, bun.Tx) error) error {
	if db == nil || fn == nil {
		return errors.New("tx/buntx: InTx with a nil database or function")
	}
	return tidings.Transact(ctx, transactor(db, opts), func(ctx context.Context) error {
		tx, _ := tidings.TxFrom[bun.Tx](ctx, db.DB)
		return fn(ctx, tx)
	})
}

// Transactor returns the [tidings.Transactor] of db: its transactions are as those of
// [InTx] without options. It panics if db is nil.
func Transactor(db *bun.DB) tidings.Transactor {
	if db == nil {
		panic("tx/buntx: Transactor with a nil *bun.DB")
	}
	return transactor(db, nil)
}

func transactor(db *bun.DB, opts *sql.TxOptions) tidings.Transactor {
	return tidings.Transactor{DB: db.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
		if err := check(ctx, db.DB, opts); err != nil {
			return err
		}
		t := &transaction{db: db, opts: opts}
		return tidings.NewTransactor(db.DB, tidings.Library[bun.Tx]{
			Begin: t.begin, Exec: exec, Commit: t.commit, Rollback: t.rollback, Enter: t.enter,
		}).Run(ctx, body)
	}}
}

// check returns an error if ctx is in a transaction in which InTx with opts is impossible.
func check(ctx context.Context, db *sql.DB, opts *sql.TxOptions) error {
	_, found := tidings.TxFrom[bun.Tx](ctx, db)
	if !found {
		if tx, b := testhook.TxOf[any](ctx, db); b != nil {
			if _, ok := tx.(bun.Tx); !ok {
				return fmt.Errorf("tx/buntx: InTx in a test whose transaction is a %T: begin it with BeginTx of the *bun.DB, and pass the *sql.DB and the bun.Tx to tidingstest.Commit", tx)
			}
			return nil
		}
		if _, ok := tidings.TxFrom[*sql.Tx](ctx, db); ok {
			return errors.New("tx/buntx: InTx inside a transaction of this database that has a *sql.Tx only, which bun cannot take over: begin the outer transaction with buntx.InTx, or use buntx.From here")
		}
		return nil
	}
	if opts == nil || opts.Isolation == sql.LevelDefault {
		return nil
	}
	outer := sql.LevelDefault
	if t, ok := tidings.TxFrom[*transaction](ctx, db); ok && t.opts != nil {
		outer = t.opts.Isolation
	}
	if opts.Isolation != outer {
		return fmt.Errorf("tx/buntx: InTx with isolation level %v inside a transaction with %v: a savepoint cannot change it", opts.Isolation, outer)
	}
	return nil
}
