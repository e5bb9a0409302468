package transactions

import (
	"context"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions/ent"
)

// Ent runs transactions of client. Code inside finds them with
// TxFrom[*ent.Tx](ctx, client), ent being the package that ent generated. ent has no
// savepoints; those here are plain SQL, for which the package needs the
// feature sql/execquery.
func Ent(client *ent.Client) tidings.Transactor {
	return tidings.NewTransactor(client, tidings.Library[*ent.Tx]{
		Begin: client.Tx,
		Exec: func(ctx context.Context, tx *ent.Tx, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
		Commit:   func(_ context.Context, tx *ent.Tx) error { return tx.Commit() },
		Rollback: func(_ context.Context, tx *ent.Tx) error { return tx.Rollback() },
	})
}
