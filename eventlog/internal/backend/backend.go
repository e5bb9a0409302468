// Package backend is what a log needs of a database, and no more.
package backend

import (
	"context"
	"errors"
)

// A Dialect is a family of SQL.
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

// A DB is a database through one driver. It is safe for concurrent use.
type DB interface {
	Dialect() Dialect

	// Pool runs statements outside of any transaction.
	Pool() Querier

	// Tx returns the transaction that ctx is in, nil outside of any, and an
	// error if it is of a kind that this driver cannot run statements in.
	Tx(ctx context.Context) (Querier, error)

	// InTx runs fn in a transaction of its own, or in a savepoint of the
	// one that ctx is in. Events published with fn's ctx wait for its end.
	InTx(ctx context.Context, fn func(ctx context.Context, tx Querier) error) error

	// TakesSlices reports whether an argument for a Postgres array may be a
	// Go slice; otherwise it has to be text.
	TakesSlices() bool

	// Listen returns a channel that receives after a notification, and now
	// and then without. It ends with ctx. While it listens, a session holds
	// [ListenLock]. A nil channel: this driver, or this server, does not tell.
	Listen(ctx context.Context, channel string) (<-chan struct{}, error)
}

// ListenLock is the advisory lock of Postgres that all sessions which listen
// share. A session that cannot take it exclusively knows that another one listens.
// It is an arbitrary number of our own.
const ListenLock = 7498337274922

// A Querier runs statements, on a pool or in a transaction.
type Querier interface {
	// Exec returns the number of rows affected.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	Query(ctx context.Context, query string, args ...any) (Rows, error)
}

// ErrNoTx is the error of [DB.Tx] for a transaction that is not in ctx:
// what is written beside it would stay when it rolls back.
var ErrNoTx = errors.New("eventlog: ctx is in a transaction, but does not have it: let the TxFunc, or the code that calls tidings.Begin, add it with tidings.WithTx")

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

// One scans the one row of a query, and reports whether there is one.
func One(ctx context.Context, q Querier, query string, args []any, dest ...any) (found bool, err error) {
	err = Each(ctx, q, query, args, func(r Rows) error {
		found = true
		return r.Scan(dest...)
	})
	return found, err
}
