// Package backend defines what a log needs from a database, and no more.
package backend

import (
	"context"
	"fmt"

	"github.com/tidings-go/tidings"
)

// A Dialect is a dialect of SQL.
type Dialect int

// The dialects.
const (
	SQLite Dialect = iota
	Postgres
)

func (d Dialect) String() string {
	if d == Postgres {
		return "Postgres"
	}
	return "SQLite"
}

// A DB gives access to a database through one driver. It is safe for concurrent
// use.
type DB interface {
	Dialect() Dialect

	// Pool runs statements outside of any transaction.
	Pool() Querier

	// Tx returns the transaction that ctx is in, or nil if there is none. It
	// returns an error if this driver cannot run statements in that kind of
	// transaction.
	Tx(ctx context.Context) (Querier, error)

	// InTx runs fn in a transaction of its own, or in a savepoint of the
	// transaction that ctx is in. Events published with fn's ctx wait for its
	// end.
	InTx(ctx context.Context, fn func(ctx context.Context, tx Querier) error) error

	// TakesSlices reports whether an argument for a Postgres array may be a
	// Go slice; otherwise it has to be text.
	TakesSlices() bool

	// Listen returns a channel that receives after each notification, and
	// sometimes without one. It ends with ctx. While it listens, a session
	// holds [ListenLock]. The channel is nil if this driver, or this server,
	// cannot notify.
	Listen(ctx context.Context, channel string) (<-chan struct{}, error)
}

// ListenLock is the Postgres advisory lock that all listening sessions share. A
// session that cannot take it exclusively knows that another one listens. Its
// number is arbitrary.
const ListenLock = 7498337274922

// A Querier runs statements, on a pool or in a transaction.
type Querier interface {
	// Exec returns the number of rows affected.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	Query(ctx context.Context, query string, args ...any) (Rows, error)
}

// Foreign returns the error of [DB.Tx] where ctx is in a transaction that has no tx, the
// type of the transactions of db: a write outside of it would stay when it rolls back. It
// returns nil if ctx is in no transaction.
func Foreign(ctx context.Context, db any, tx string) error {
	other, in := tidings.TxDatabase(ctx)
	switch {
	case !in:
		return nil
	case other == db:
		return fmt.Errorf("eventlog: the transaction in ctx has no %s: let the TxFunc, or the code that calls tidings.NewTxHook, add it with tidings.WithTx", tx)
	}
	return fmt.Errorf("eventlog: ctx is in a transaction of another database than the log's: of a %T, and the log is on a %T. Use a ctx from outside, or a log on that database (if they are one database, let DB of the Transactor be the log's %[2]T)", other, db)
}

// Rows is the result of a query, as in database/sql.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// Each calls scan for every row of a query.
func Each(ctx context.Context, q Querier, query string, args []any, scan func(Rows) error) (err error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// One scans the only row of a query, and reports whether there is one.
func One(ctx context.Context, q Querier, query string, args []any, dest ...any) (found bool, err error) {
	err = Each(ctx, q, query, args, func(r Rows) error {
		found = true
		return r.Scan(dest...)
	})
	return found, err
}
