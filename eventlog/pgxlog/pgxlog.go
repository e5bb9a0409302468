// Package pgxlog lets an [eventlog.Log] use a pgx pool directly, without
// database/sql.
package pgxlog

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
	"github.com/tidings-go/tidings/internal/sqlstate"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// Postgres returns the database of pool, for [eventlog.Open]. The log writes in
// the pgx.Tx that tidings.TxFrom[pgx.Tx](ctx, pool) finds. While it runs,
// [eventlog.Log.Follow] holds a connection of the pool to LISTEN; not on a
// standby, which does not allow that.
func Postgres(pool *pgxpool.Pool) eventlog.Database {
	if pool == nil {
		panic("pgxlog: Postgres with a nil pool")
	}
	return db{pool}
}

type db struct{ pool *pgxpool.Pool }

func (d db) Dialect() backend.Dialect { return backend.Postgres }
func (d db) Pool() backend.Querier    { return querier{d.pool} }

func (d db) TakesSlices() bool { return true }

func (d db) Tx(ctx context.Context) (backend.Querier, error) {
	if tx, ok := tidings.TxFrom[pgx.Tx](ctx, d.pool); ok {
		return querier{tx}, nil
	}
	return nil, backend.Foreign(ctx, d.pool, "pgx.Tx")
}

func (d db) InTx(ctx context.Context, fn func(context.Context, backend.Querier) error) error {
	// Inside a transaction of another kind, one of our own would commit
	// whatever the outcome of that one.
	if _, err := d.Tx(ctx); err != nil {
		return err
	}
	return tidings.Transact(ctx, pgxtx.Transactor(d.pool), func(ctx context.Context) error {
		tx, err := d.Tx(ctx)
		if err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}

// retryListen is how long Listen waits before it reconnects.
const retryListen = time.Second

// readOnly is the SQLSTATE of a LISTEN on a standby.
const readOnly = "25006"

func (d db) Listen(ctx context.Context, channel string) (<-chan struct{}, error) {
	conn, err := d.listen(ctx, channel)
	if sqlstate.Of(err) == readOnly {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	told := make(chan struct{}, 1)
	tell := func() {
		select {
		case told <- struct{}{}:
		default: // the last one has not been received yet
		}
	}
	go func() {
		// A connection that listens must not be used again: the pool would hand
		// it to code that does not read its notifications.
		drop := func() {
			if conn != nil {
				_ = conn.Conn().Close(context.WithoutCancel(ctx))
				conn.Release()
				conn = nil
			}
		}
		defer drop()
		for ctx.Err() == nil {
			if conn == nil {
				if conn, err = d.listen(ctx, channel); err != nil {
					conn = nil
					select {
					case <-ctx.Done():
					case <-time.After(retryListen):
					}
					continue
				}
				tell() // about commits in between
			}
			if _, err := conn.Conn().WaitForNotification(ctx); err != nil {
				drop()
				continue
			}
			tell()
		}
	}()
	return told, nil
}

func (d db) listen(ctx context.Context, channel string) (*pgxpool.Conn, error) {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	statements := fmt.Sprintf("LISTEN %s; SELECT pg_advisory_lock_shared(%d)", pgx.Identifier{channel}.Sanitize(), backend.ListenLock)
	if _, err := conn.Exec(ctx, statements); err != nil {
		conn.Release()
		return nil, err
	}
	return conn, nil
}

// querier wraps a pool or a transaction.
type querier struct {
	q interface {
		Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
		Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	}
}

func (q querier) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := q.q.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

func (q querier) Query(ctx context.Context, query string, args ...any) (backend.Rows, error) {
	r, err := q.q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rows{r}, nil
}

type rows struct{ pgx.Rows }

// Close returns nil: errors are in Err.
func (r rows) Close() error {
	r.Rows.Close()
	return nil
}
