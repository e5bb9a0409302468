// Package transactions shows how tidings runs on top of the database
// libraries of Go: pgx, GORM, bun, ent and sqlx. Each has a file with a
// [tidings.Transactor] to copy; for database/sql there is [tidings.InTx].
//
//	err := tidings.Transact(ctx, transactions.GORM(db), func(ctx context.Context) error {
//		tx, _ := tidings.TxFrom[*gorm.DB](ctx, db)
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
// The DB of a Transactor stands for the database. Code that uses the same database
// through another library, such as an event log on the *sql.DB below GORM, needs the
// same DB, and its own form of the transaction, which the TxFunc adds.
package transactions
