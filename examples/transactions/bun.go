package transactions

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/tidings-go/tidings"
)

// Bun runs transactions of db. Code inside finds them with TxFrom[bun.Tx](ctx, db).
// The savepoints are set by bun.Tx's own RunInTx.
func Bun(db *bun.DB) tidings.Transactor {
	return tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
		run := func(_ context.Context, tx bun.Tx) error { return body(tidings.WithTx(ctx, db, tx)) }
		if tx, ok := tidings.TxFrom[bun.Tx](ctx, db); ok {
			// bun rolls back to the savepoint with this context, also after ctx
			// has ended.
			return tx.RunInTx(context.WithoutCancel(ctx), nil, run)
		}
		return db.RunInTx(ctx, nil, run)
	}}
}
