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
// All of them begin a transaction, or set a savepoint inside of one, call
// the body, and commit, or roll back if the body fails or panics. The tests
// hold each against one suite on a real database.
//
// A TxFunc finds the transaction that it nests in by its type, and does not
// ask for the database. One on a second database takes a context from outside
// of the first one's, as [tidings.Transact] says; only [tidings.InTx] tells
// databases apart.
package transactions
