package buntx

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testhook"
)

// From returns the transaction of db that ctx is in, or else db. In a test, that may be the
// transaction that the test has passed to package tidingstest. In a transaction that only
// has a *sql.Tx, such as that of [tidings.InTx] and tidingstest.Sandbox, queries run in it,
// and BeginTx and RunInTx return an error. From panics if db is nil. It is safe to call
// concurrently and inside a handler.
func From(ctx context.Context, db *bun.DB) bun.IDB {
	if tx, ok := tidings.TxFrom[bun.Tx](ctx, db.DB); ok {
		return tx
	}
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, db.DB); ok {
		return joined{db, tx}
	}
	if tx, b := testhook.TxOf[bun.Tx](ctx, db.DB); b != nil {
		return tx
	}
	if tx, b := testhook.TxOf[*sql.Tx](ctx, db.DB); b != nil {
		return joined{db, tx}
	}
	return db
}

// joined runs queries of db in a transaction that bun has not begun.
type joined struct {
	db *bun.DB
	tx *sql.Tx
}

var errJoined = errors.New("tx/buntx: BeginTx in a transaction that has a *sql.Tx only, which bun cannot take over: begin the outer transaction with buntx.InTx, or use tidings.InTx here")

func (j joined) BeginTx(context.Context, *sql.TxOptions) (bun.Tx, error) {
	return bun.Tx{}, errJoined
}

func (j joined) RunInTx(context.Context, *sql.TxOptions, func(context.Context, bun.Tx) error) error {
	return errJoined
}

// These three do not call query hooks: bun has no function for that.

func (j joined) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return j.tx.ExecContext(ctx, j.format(query, args))
}

func (j joined) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return j.tx.QueryContext(ctx, j.format(query, args))
}

func (j joined) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return j.tx.QueryRowContext(ctx, j.format(query, args))
}

func (j joined) format(query string, args []any) string {
	return j.db.QueryGen().FormatQuery(query, args...)
}

func (j joined) Dialect() schema.Dialect { return j.db.Dialect() }

func (j joined) NewValues(model any) *bun.ValuesQuery { return j.db.NewValues(model).Conn(j.tx) }
func (j joined) NewSelect() *bun.SelectQuery          { return j.db.NewSelect().Conn(j.tx) }
func (j joined) NewInsert() *bun.InsertQuery          { return j.db.NewInsert().Conn(j.tx) }
func (j joined) NewUpdate() *bun.UpdateQuery          { return j.db.NewUpdate().Conn(j.tx) }
func (j joined) NewDelete() *bun.DeleteQuery          { return j.db.NewDelete().Conn(j.tx) }
func (j joined) NewMerge() *bun.MergeQuery            { return j.db.NewMerge().Conn(j.tx) }
func (j joined) NewRaw(query string, args ...any) *bun.RawQuery {
	return j.db.NewRaw(query, args...).Conn(j.tx)
}
func (j joined) NewCreateTable() *bun.CreateTableQuery     { return j.db.NewCreateTable().Conn(j.tx) }
func (j joined) NewDropTable() *bun.DropTableQuery         { return j.db.NewDropTable().Conn(j.tx) }
func (j joined) NewCreateIndex() *bun.CreateIndexQuery     { return j.db.NewCreateIndex().Conn(j.tx) }
func (j joined) NewDropIndex() *bun.DropIndexQuery         { return j.db.NewDropIndex().Conn(j.tx) }
func (j joined) NewTruncateTable() *bun.TruncateTableQuery { return j.db.NewTruncateTable().Conn(j.tx) }
func (j joined) NewAddColumn() *bun.AddColumnQuery         { return j.db.NewAddColumn().Conn(j.tx) }
func (j joined) NewDropColumn() *bun.DropColumnQuery       { return j.db.NewDropColumn().Conn(j.tx) }
