package transactions

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/tidings-go/tidings"
)

// Sqlx runs transactions of db. Code inside finds them with TxFrom[*sqlx.Tx](ctx, db).
// It shows how to connect a library; module tx/sqlxtx has more.
func Sqlx(db *sqlx.DB) tidings.Transactor {
	return tidings.NewTransactor(db, tidings.Library[*sqlx.Tx]{
		Begin: func(ctx context.Context) (*sqlx.Tx, error) { return db.BeginTxx(ctx, nil) },
		Exec: func(ctx context.Context, tx *sqlx.Tx, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
		Commit:   func(_ context.Context, tx *sqlx.Tx) error { return tx.Commit() },
		Rollback: func(_ context.Context, tx *sqlx.Tx) error { return tx.Rollback() },
	})
}
