package backend

import (
	"context"
	"database/sql"
	"reflect"

	"github.com/tidings-go/tidings"
)

// SQL returns db, through database/sql.
func SQL(dialect Dialect, db *sql.DB) DB { return sqlDB{dialect, db} }

type sqlDB struct {
	dialect Dialect
	db      *sql.DB
}

func (d sqlDB) Dialect() Dialect { return d.dialect }
func (d sqlDB) Pool() Querier    { return sqlQuerier{d.db} }

func (d sqlDB) Tx(ctx context.Context) (Querier, error) {
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, d.db); ok {
		return sqlQuerier{tx}, nil
	}
	return nil, Foreign(ctx, d.db, "*sql.Tx")
}

func (d sqlDB) InTx(ctx context.Context, fn func(context.Context, Querier) error) error {
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, d.db); ok {
		run := Savepoint(sqlQuerier{tx}, func(context.Context) error { return tx.Rollback() })
		return tidings.Transact(ctx, tidings.Transactor{DB: d.db, Run: run}, func(ctx context.Context) error { return fn(ctx, sqlQuerier{tx}) })
	}
	if _, err := d.Tx(ctx); err != nil {
		return err
	}
	return tidings.InTx(ctx, d.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		return fn(ctx, sqlQuerier{tx})
	})
}

// TakesSlices recognises the pgx driver without importing it, because then a
// program on SQLite would have to link it. Where another driver wraps it, text
// is used.
func (d sqlDB) TakesSlices() bool {
	t := reflect.TypeOf(d.db.Driver())
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "github.com/jackc/pgx/v5/stdlib"
}

// Listen returns nil: database/sql cannot wait for notifications.
func (d sqlDB) Listen(context.Context, string) (<-chan struct{}, error) { return nil, nil }

// sqlQuerier wraps a *sql.DB or a *sql.Tx.
type sqlQuerier struct {
	q interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func (q sqlQuerier) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := q.q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (q sqlQuerier) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	rows, err := q.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rows, nil
}
