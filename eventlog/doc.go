// Package eventlog keeps the events of a bus in an append-only log, in SQLite
// or Postgres: as an audit trail, for handlers that are added later than the
// events, and to compute state from history.
//
//	var registry tidings.Registry
//	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
//
//	log, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
//	...
//	log.Attach(bus)
//
// From then on every event published on bus is also in the log. It is written
// in the transaction that publishes it, so the log has exactly the events whose
// transactions have committed.
//
// # Guarantees
//
//   - An event is in the log if and only if the transaction that published it
//     has committed. An event published in a savepoint that rolled back is not.
//     Outside a transaction it is in the log before its handlers run.
//   - An event is in the log once, even if it is published twice: its ID is
//     unique.
//   - An event that cannot be encoded is not published: [tidings.Publish]
//     returns the error. An event that cannot be appended fails the
//     transaction.
//   - An event is read as it was published: the header with ==, the time to the
//     microsecond, the data as JSON, brought up to the current version by the
//     upcasts of the [tidings.Registry].
//   - An event that the program cannot decode is not skipped silently and does
//     not stop a reader: it comes with a [*DecodeError].
//   - [Log.Follow] and replays miss no event, even on Postgres, where a
//     transaction with a lower number may commit later.
//
// # Databases
//
// [SQLite] and [Postgres] take a *sql.DB of any driver: for Postgres, pgx,
// lib/pq and bun's pgdriver are tested. Package pgxlog takes a pgx pool. The
// log uses the transaction of its own database that is in ctx: InTx puts a *sql.Tx
// there, and other code calls [tidings.WithTx] with that *sql.DB or pool. With a
// library that has its own transaction type, such as GORM, the TxFunc also adds the
// *sql.Tx below it:
//
//	tidings.WithTx(tidings.WithTx(ctx, sqlDB, tx.Statement.ConnPool), sqlDB, tx)
//
// In a transaction of another database, every call returns an error, and so does the
// commit of a transaction whose events the log would append: keep the log in the
// database that your modules write to.
//
// # Overview
//
// Writing: [Log.Attach] for published events, [Log.AppendTo] for streams,
// [Aggregate] for event-sourced aggregates. Reading: [Log.Read], [Log.Follow],
// [Log.ReadStream], [Log.Workflow]. Replaying: [Replay], [Log.Backfill],
// [Log.ReplayTo]. Handling once: [Log.Inbox]. Housekeeping: [Log.DeleteBefore],
// [Log.Export], [Log.Import], [Log.Audit].
package eventlog
