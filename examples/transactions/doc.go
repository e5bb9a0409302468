// Package transactions shows how tidings runs on top of the database
// libraries of Go: pgx, GORM, bun, ent and sqlx. Each has a file with a
// [tidings.TxFunc] to copy; for database/sql there is [tidings.InTx].
//
//	err := tidings.Transact(ctx, transactions.GORM(db), func(ctx context.Context) error {
//		tx, _ := tidings.TxFrom[*gorm.DB](ctx)
//		if err := tx.Create(&invoice).Error; err != nil {
//			return err
//		}
//		return tidings.Publish(ctx, bus, InvoiceIssued{Number: invoice.Number})
//	})
//
// Each of them begins a transaction, or sets a savepoint inside one, calls the
// body, and commits, or rolls back if the body fails or panics. One suite tests
// all of them on a real database.
//
// A TxFunc finds the outer transaction by its type, and cannot tell on which
// database it is. For a transaction on a second database pass a context from
// outside the first transaction, as [tidings.Transact] says. Only [tidings.InTx]
// tells databases apart.
package transactions
