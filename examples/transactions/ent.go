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
	return tidings.Transactor{DB: client, Run: func(ctx context.Context, body func(context.Context) error) error {
		if tx, ok := tidings.TxFrom[*ent.Tx](ctx, client); ok {
			return savepoint(ctx, tx, body)
		}
		tx, err := client.Tx(ctx)
		if err != nil {
			return err
		}
		return commit(tidings.WithTx(ctx, client, tx), tx, body)
	}}
}
