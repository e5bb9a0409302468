// Package sqlxtx runs transactions of sqlx, so that events that are published in them are
// delivered after the commit:
//
//	err := sqlxtx.InTx(ctx, db, nil, func(ctx context.Context, tx *sqlx.Tx) error {
//		if _, err := tx.ExecContext(ctx, tx.Rebind("UPDATE proposals SET accepted = TRUE WHERE id = ?"), id); err != nil {
//			return err
//		}
//		return tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id})
//	})
//
// A repository that is used inside and outside of transactions gets its connection with
// [From]:
//
//	err := sqlxtx.From(ctx, r.db).GetContext(ctx, &proposal, "SELECT * FROM proposals WHERE id = 7")
//
// # The database
//
// The database of the transactions is the *sql.DB behind the *sqlx.DB, so modules that
// use database/sql take part: code finds the transaction with
// tidings.TxFrom[*sqlx.Tx](ctx, db.DB) and tidings.TxFrom[*sql.Tx](ctx, db.DB), and the
// event log and durable handlers that were opened with db.DB write in it. [InTx] and
// [tidings.InTx] on db.DB nest in any order, and so do several *sqlx.DB around one *sql.DB.
// tidingstest.Sandbox(t, db.DB) works for both.
//
// # Savepoints
//
// An InTx inside another sets a savepoint. sqlx has no savepoints of its own. One that
// code sets with a statement, as text, is not seen: events that are published in it are
// delivered although it was rolled back to. Use an InTx instead.
package sqlxtx
