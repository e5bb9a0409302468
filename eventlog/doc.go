// Package eventlog keeps the events of a bus in an append-only log, in SQLite
// or Postgres: for an audit, for handlers that come later than the events,
// and for what is computed from history.
//
//	var registry tidings.Registry
//	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
//
//	log, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
//	...
//	log.Attach(bus)
//
// From then on what is published on bus is in the log as well: in the
// transaction that publishes it, so that the log has exactly the events whose
// transactions have committed.
//
// # Guarantees
//
//   - An event is in the log if and only if the transaction that published it
//     has committed. One that was published in a savepoint that rolled back is
//     not. Outside a transaction it is in the log before its handlers run.
//   - An event is in the log once, whatever was done to publish it twice: its
//     ID is unique.
//   - An event that cannot be encoded is not published: [tidings.Publish]
//     returns the error. One that cannot be appended fails the transaction.
//   - What is read is what was published: the header with ==, the time to the
//     microsecond, the data as JSON, brought up to the version of today by
//     the upcasts of the [tidings.Registry].
//   - An event that the program cannot decode is neither skipped silently nor
//     does it stop a reader: it comes with a [*DecodeError].
//   - [Log.Follow] and replays miss no event, also on Postgres, where a
//     transaction with a lower number may commit later.
//
// # Databases
//
// [SQLite] and [Postgres] take a *sql.DB, of whichever driver: for Postgres
// those of pgx, lib/pq and bun's pgdriver are tested. Package pgxlog takes a
// pgx pool. The transaction is the one that ctx is in: InTx puts a *sql.Tx
// there, and other code says [tidings.WithTx]. With a library of its own kind
// of transaction, such as GORM, the TxFunc adds the *sql.Tx under it too:
//
//	tidings.WithTx(tidings.WithTx(ctx, tx.Statement.ConnPool), tx)
//
// The log is written through that transaction, whichever database it is of,
// so the tables have to be there: keep the log in the database that your
// modules write to.
//
// # What is where
//
// Writing: [Log.Attach] for what is published, [Log.AppendTo] for streams,
// [Aggregate] for event-sourced aggregates. Reading: [Log.Read],
// [Log.Follow], [Log.ReadStream], [Log.Workflow]. Again: [Replay],
// [Log.Backfill], [Log.ReplayTo]. Once only: [Log.Inbox]. Housekeeping:
// [Log.DeleteBefore], [Log.Export], [Log.Import], [Log.Audit].
package eventlog
