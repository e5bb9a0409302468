// Package buntx runs transactions of bun, so that events that are published in them are
// delivered after the commit:
//
//	err := buntx.InTx(ctx, db, nil, func(ctx context.Context, tx bun.Tx) error {
//		_, err := tx.NewUpdate().Model(&proposal).Set("accepted = TRUE").WherePK().Exec(ctx)
//		if err != nil {
//			return err
//		}
//		return tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: proposal.ID})
//	})
//
// A repository that is used inside and outside of transactions gets its connection with
// [From]:
//
//	err := buntx.From(ctx, r.db).NewSelect().Model(&proposal).WherePK().Scan(ctx)
//
// # The database
//
// The database of the transactions is the *sql.DB behind the *bun.DB, so modules that use
// database/sql take part: code finds the transaction with tidings.TxFrom[bun.Tx](ctx, db.DB)
// and tidings.TxFrom[*sql.Tx](ctx, db.DB), and the event log and durable handlers that were
// opened with db.DB write in it. [tidings.InTx] on db.DB inside of [InTx] sets a savepoint.
// The reverse is an error, since bun cannot take over a *sql.Tx: begin the outer transaction
// with InTx, too, or use From, with which queries work in both.
//
// Several *bun.DB around one *sql.DB, such as those that WithQueryHook and WithNamedArg
// return, share its transactions. Code inside gets the bun.Tx of the outermost InTx, with the
// hooks and arguments of the *bun.DB there.
//
// # Savepoints
//
// An InTx inside another sets a savepoint. So do BeginTx and RunInTx of a bun.Tx: events
// that are published until they end, with any context of the transaction, are dropped if
// they roll back. Savepoints that code sets with a statement through bun are seen, too, but
// not those that are set through the *sql.Tx in the bun.Tx.
//
// # Tests
//
// A test begins a transaction with db.BeginTx and passes it to tidingstest.Commit, with
// db.DB as the database: code that calls InTx gets a savepoint in it. Savepoints that bun
// sets are not seen there. tidingstest.Sandbox begins a *sql.Tx, in which InTx is an error.
package buntx
