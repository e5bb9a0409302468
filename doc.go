// Package tidings is an event bus for domain events in a modular monolith. It carries
// events between modules that do not import each other: one module publishes an
// event, other modules subscribe handlers to it, and all of them import only the
// package that declares the events. The bus is aware of transactions: an event that
// is published inside a database transaction is delivered after the commit, and
// dropped if the transaction rolls back.
//
// # Usage
//
// An event is a struct that embeds [DomainEvent]:
//
//	type ProposalAccepted struct {
//		tidings.DomainEvent
//		ProposalID int64
//		FirmID     int64
//	}
//
// A module subscribes a handler when the program starts:
//
//	tidings.Subscribe(bus, func(ctx context.Context, e events.ProposalAccepted) error {
//		return clients.Onboard(ctx, e.FirmID)
//	}, tidings.Named("clients.onboard"))
//
// Another module publishes:
//
//	err := tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
//		if _, err := tx.ExecContext(ctx, acceptProposal, id); err != nil {
//			return err
//		}
//		return tidings.Publish(ctx, bus, events.ProposalAccepted{ProposalID: id, FirmID: firm})
//	})
//
// The handler runs after the commit, in the publisher's goroutine. It does not run if
// the transaction rolls back. Outside a transaction it runs immediately. [InTx] is
// for database/sql; [Transact] does the same for other database libraries.
//
// # Guarantees
//
//   - Every handler gets its own copy of the event. The bus refuses event types
//     through which handlers could share memory (see Events are immutable, below).
//   - The handlers of an event run in the order in which they were subscribed. If one
//     fails or panics, the others still run, except before the commit: there the first
//     failure skips the others.
//   - An event is delivered to the handlers that were subscribed when it was
//     published, except those that are unsubscribed before it is delivered.
//   - The events of a transaction are delivered after its outermost commit, in the
//     order of publishing. AfterCommit handlers never get an event of a transaction or
//     savepoint that rolled back.
//   - Every failure is returned to the publisher or, if the publisher does not wait
//     for the handler (after a commit, and for [Async] handlers), passed to the bus's
//     error handler, which logs by default. No error is dropped.
//   - The bus holds no lock while a handler runs: a handler may publish, subscribe
//     and unsubscribe.
//
// One thing is not guaranteed: if the process dies between the commit and the end of
// the handlers, the remaining handlers do not run. Work that must not be lost belongs
// in a handler in the phase [InTransaction] or [BeforeCommit], whose writes commit
// together with the publisher's, or in a handler behind a [Transport] that stores the
// event in the publisher's transaction (a transactional outbox), as module durable
// does.
//
// # Handlers
//
// A handler is a function. Its context carries the event ([EventFrom]): events that
// the handler publishes with this context get the same correlation ID, and the ID of
// the handled event as their causation ID. A handler must be idempotent if it can be
// called again for the same event: by your own code, in a replay, or by a transport
// that delivers at least once.
//
// A handler of an interface type receives every event that implements the interface:
// Subscribe[tidings.Event] receives all events.
//
// Options set how a handler runs: a [Phase], [Named], [Once], [Async], [Via], a
// [Middleware]. Two modules contain transports for Via. Module durable stores events
// as jobs in the publisher's transaction. Module relay sends them through a message
// broker after the commit, to processes that subscribe the same handlers.
// [Attempts], [Backoff] and [Timeout] set how they retry a handler.
//
// A program starts its transports when all handlers are subscribed, and closes them
// and the bus when it ends. [Services] do that in the right order.
//
// # Transactions
//
// A [Phase] sets when a handler runs, relative to the publisher's transaction:
// [InTransaction] handlers run immediately, inside the transaction; [BeforeCommit]
// handlers run inside the transaction, just before the commit; [AfterCommit] (the
// default) and [AfterRollback] handlers run when it has ended. Outside a transaction,
// [Publish] runs the phases one after the other.
//
// An [InTx] inside another one on the same database is a savepoint. If it fails, only
// its own events are dropped. AfterCommit handlers run when the connection is back in
// the pool. Their context carries no transaction, and is not cancelled when the
// caller's context is. InTx does not return their errors: a failing subscriber must
// not make a committed order look as if it had failed.
//
// # Events are immutable
//
// The header has no setters, and handlers get copies. [Subscribe] refuses (with a
// panic) and [Publish] refuses (with an error) a struct that contains a slice, map,
// pointer, channel, function or interface; the message names the field. Use a [List]
// instead of a slice, or give the event a method Clone() that returns a deep copy:
// the bus calls it for each call of a handler. [WithImmutable] declares a type whose
// memory does not change.
//
// # Names and versions
//
// An event that is stored or sent outlives the code that wrote it. A [Registry] gives
// its type a lasting name and a version. [Registry.Encode] writes the event as a
// CloudEvent, and [Registry.Decode] reads the same event back, including its header.
// Encode refuses an event that would not be read back unchanged; [Registry.Validate]
// finds this beforehand if the type alone shows it. When the shape of an event
// changes, raise the version and add an [Upcast] that converts older data to the new
// shape:
//
//	tidings.Register[events.ProposalAccepted](registry, "crm.proposal_accepted", 2)
//	tidings.Upcast(registry, "crm.proposal_accepted", 1, proposalAcceptedV1to2)
//
// # Errors
//
// Mistakes in wiring panic, as in [net/http.ServeMux.Handle]. Everything that can
// fail at run time returns an error. A failed handler is reported as a
// [*HandlerError], which wraps a [*PanicError] if the handler panicked. Several
// failures are joined with [errors.Join], so [errors.Is] and [errors.As] find each of
// them.
//
// # Testing
//
// Handlers are functions: call them with an event. For other tests, package
// tidingstest provides a bus for one test, a recorder of delivered and rolled-back
// events, and a sandbox that runs code as if it committed, in a transaction that the
// test rolls back.
package tidings
