// Package gormtx runs transactions of [GORM] in which events wait for the commit:
//
//	err := gormtx.InTx(ctx, db, nil, func(ctx context.Context, tx *gorm.DB) error {
//		if err := tx.Create(&invoice).Error; err != nil {
//			return err
//		}
//		return tidings.Publish(ctx, bus, InvoiceIssued{Number: invoice.Number})
//	})
//
// The handlers run after the commit. If the function returns an error, the transaction
// rolls back, and the event is dropped.
//
// A part of a transaction rolls back alone in another [InTx] inside, or in GORM's own
// tx.Transaction, tx.SavePoint and tx.RollbackTo. The events of that part are dropped with
// it, whichever context of the transaction they were published with, also in hooks of
// models, which have tx.Statement.Context.
//
// The database is the [*sql.DB] behind the *gorm.DB, and the transactions are those of
// [tidings.InTx]: code with GORM and code with database/sql join each other's transactions.
// A plugin of GORM that puts its own connection pool in front of the *sql.DB does not see
// their statements.
//
// [GORM]: https://gorm.io
package gormtx
