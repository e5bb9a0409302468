package transactions

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidings-go/tidings"
)

// PGX runs transactions of pool. Code inside finds them with
// TxFrom[pgx.Tx](ctx, pool). Begin of a pgx.Tx sets a savepoint.
func PGX(pool *pgxpool.Pool) tidings.Transactor {
	return tidings.Transactor{DB: pool, Run: func(ctx context.Context, body func(context.Context) error) error {
		run := func(tx pgx.Tx) error { return body(tidings.WithTx(ctx, pool, tx)) }
		if tx, ok := tidings.TxFrom[pgx.Tx](ctx, pool); ok {
			// pgx rolls back to the savepoint with this context, also after ctx
			// has ended.
			return pgx.BeginFunc(context.WithoutCancel(ctx), tx, run)
		}
		return pgx.BeginFunc(ctx, pool, run)
	}}
}
