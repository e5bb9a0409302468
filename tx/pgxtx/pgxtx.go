// Package pgxtx runs transactions of pgx, so that events that are published in them are
// delivered after the commit, and dropped if they roll back:
//
//	err := pgxtx.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
//		if err := queries.New(tx).AcceptProposal(ctx, id); err != nil {
//			return err
//		}
//		return tidings.Publish(ctx, bus, events.ProposalAccepted{ProposalID: id})
//	})
//
// Savepoints that code sets with Begin of the transaction count as well: an event that is
// published in a part that rolls back is dropped, whichever context of the transaction it
// is published with. So do the statements SAVEPOINT, RELEASE and ROLLBACK TO, if they run
// alone, with Exec of the transaction.
//
// The database of these transactions, as in [tidings.WithTx], is the pool or connection
// itself. Pass the same one everywhere.
package pgxtx

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/nested"
	"github.com/tidings-go/tidings/internal/testhook"
)

// A Querier runs statements: in a transaction, or outside of transactions. Repositories
// take it, and the code that sqlc generates for pgx does.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// A DB begins transactions: a *pgxpool.Pool, a *pgxpool.Conn or a *pgx.Conn.
type DB interface {
	Querier
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// InTx runs fn in a transaction of db. It begins the transaction with opts, commits if fn
// returns nil, and rolls back otherwise. Events that fn publishes with its ctx are
// delivered after the commit; [tidings.Transact] has the details. InTransaction and
// BeforeCommit handlers get the transaction from [From].
//
// Inside another transaction on the same db, InTx sets a savepoint instead. The options of
// the outer transaction apply then, and asking for another isolation level is an error.
// Inside a transaction on another db, it begins a separate one.
//
// InTx commits: Commit of tx is an error. After Rollback of tx, InTx fails. InTx is safe to
// call concurrently, unless db is a single connection, and inside a handler.
func InTx(ctx context.Context, db DB, opts pgx.TxOptions, fn func(ctx context.Context, tx pgx.Tx) error) error {
	if db == nil || fn == nil {
		return errors.New("pgxtx: InTx with a nil database or function")
	}
	if outer, ok := tidings.TxFrom[*transaction](ctx, db); ok && opts.IsoLevel != "" && opts.IsoLevel != outer.isolation {
		return fmt.Errorf("pgxtx: InTx with isolation level %q inside a transaction with %q: a savepoint cannot change it", opts.IsoLevel, outer.isolation)
	}
	return tidings.Transact(ctx, transactor(db, opts), func(ctx context.Context) error {
		tx, _ := tidings.TxFrom[pgx.Tx](ctx, db)
		return fn(ctx, tx)
	})
}

// Transactor returns the [tidings.Transactor] of db: its transactions are as those of
// [InTx] without options. It panics if db is nil.
func Transactor(db DB) tidings.Transactor {
	if db == nil {
		panic("pgxtx: Transactor with a nil database")
	}
	return transactor(db, pgx.TxOptions{})
}

// From returns the transaction of db that ctx is in, or db itself. In a context of a
// test's sandbox, it returns the transaction of the test.
func From(ctx context.Context, db DB) Querier {
	if tx, ok := tidings.TxFrom[pgx.Tx](ctx, db); ok {
		return tx
	}
	if tx, b := testhook.TxOf[pgx.Tx](ctx, db); b != nil {
		return tx
	}
	return db
}

func transactor(db DB, opts pgx.TxOptions) tidings.Transactor {
	return tidings.NewTransactor(db, tidings.Library[pgx.Tx]{
		Begin: func(ctx context.Context) (pgx.Tx, error) {
			tx, err := db.BeginTx(ctx, opts)
			if err != nil {
				return nil, err
			}
			return &transaction{tx, tx, opts.IsoLevel, nested.Of(ctx, db)}, nil
		},
		Exec: func(ctx context.Context, tx pgx.Tx, statement string) error {
			_, err := bare(tx).Exec(ctx, statement)
			return err
		},
		Commit:   func(ctx context.Context, tx pgx.Tx) error { return bare(tx).Commit(ctx) },
		Rollback: func(ctx context.Context, tx pgx.Tx) error { return rollback(ctx, bare(tx)) },
		Enter: func(ctx context.Context, tx pgx.Tx) context.Context {
			if _, ok := tx.(*transaction); !ok { // begun by other code
				tx = &transaction{tx, tx, "", nested.Of(ctx, db)}
			}
			return tidings.WithTx(ctx, db, tx)
		},
	})
}
