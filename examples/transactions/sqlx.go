package transactions

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/tidings-go/tidings"
)

// Sqlx runs transactions of db. Code inside finds them with
// TxFrom[*sqlx.Tx](ctx, db). sqlx has no savepoints; those here are plain SQL.
func Sqlx(db *sqlx.DB) tidings.Transactor {
	return tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
		if tx, ok := tidings.TxFrom[*sqlx.Tx](ctx, db); ok {
			return savepoint(ctx, tx, body)
		}
		tx, err := db.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		return commit(tidings.WithTx(ctx, db, tx), tx, body)
	}}
}
