package transactions

import (
	"context"

	"gorm.io/gorm"

	"github.com/tidings-go/tidings"
)

// GORM runs transactions of db. Code inside finds them with
// TxFrom[*gorm.DB](ctx, db). The savepoints are set by GORM's own Transaction,
// unless its DisableNestedTransaction is set.
//
// A nested transaction keeps the context of the outermost one for its
// savepoint: with a context that ends earlier, GORM could not roll back.
// Statements that are to end with ctx take tx.WithContext(ctx).
func GORM(db *gorm.DB) tidings.Transactor {
	return tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
		tx, ok := tidings.TxFrom[*gorm.DB](ctx, db)
		if !ok {
			tx = db.WithContext(ctx)
		}
		return tx.Transaction(func(tx *gorm.DB) error { return body(tidings.WithTx(ctx, db, tx)) })
	}}
}
