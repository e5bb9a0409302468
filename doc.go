// Package tidings carries domain events between the modules of a Go
// program that do not import each other. A module publishes what happened,
// others react, and both import only the package with the events. Events
// published inside a database transaction wait until it has committed, and
// are dropped if it rolls back.
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
// A module subscribes, when the program is put together:
//
//	tidings.Subscribe(bus, func(ctx context.Context, e events.ProposalAccepted) error {
//		return clients.Onboard(ctx, e.FirmID)
//	}, tidings.Named("clients.onboard"))
//
// Another one publishes:
//
//	err := tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
//		if _, err := tx.ExecContext(ctx, acceptProposal, id); err != nil {
//			return err
//		}
//		return tidings.Publish(ctx, bus, events.ProposalAccepted{ProposalID: id, FirmID: firm})
//	})
//
// The handler runs after the commit, in the publisher's goroutine, and not
// at all if the transaction rolls back. Outside a transaction it runs at
// once. [Transact] does the same for other database libraries.
//
// # Guarantees
//
//   - Every handler gets its own copy of the event. Types through which
//     handlers could share memory are refused, see below.
//   - Handlers of an event run in the order in which they were subscribed.
//     All run, also after one fails or panics.
//   - The handlers of an event are those that were subscribed when it was
//     published, less those unsubscribed before it is delivered.
//   - Events of one transaction are delivered after its outermost commit,
//     in the order of publishing. An event of a transaction or savepoint
//     that rolled back is never delivered.
//   - What fails is returned to the publisher, or if there is none left
//     (after a commit, in [Async] handlers) passed to the bus's error
//     handler, which logs by default. Nothing is swallowed.
//   - No lock is held while a handler runs: it may publish, subscribe and
//     unsubscribe as it likes.
//
// What is not guaranteed: if the process dies between the commit and the
// end of the handlers, the rest of them do not run. Work that must not be
// lost belongs in a handler in the phase [InTransaction] or
// [BeforeCommit], whose writes commit together with the publisher's, or
// behind a [Transport] that stores it there, as module durable does.
//
// # Handlers
//
// A handler is a function. Its context carries the event ([EventFrom]), so
// that what it publishes has the same correlation ID and names the event as
// its cause. It should be idempotent where it can be called again: by hand,
// in a replay, or by a transport that delivers at least once.
//
// A handler of an interface type receives every event that implements it:
// Subscribe[tidings.Event] receives all of them.
//
// Options say how a handler runs: a [Phase], [Named], [Once], [Async],
// [Via] a transport, or wrapped in a [Middleware]. There are two modules with
// transports: durable stores events as jobs in the publisher's transaction,
// and relay sends them through a message broker after the commit, to
// processes that have the same handlers.
//
// # Transactions
//
// A [Phase] places a handler relative to the transaction of the publisher:
// [InTransaction] at once and inside of it, [BeforeCommit] inside of it, as
// the last thing before the commit, [AfterCommit] (the default) and
// [AfterRollback]. Outside a
// transaction the phases follow each other in one call of [Publish].
//
// Nested calls of [InTx] are savepoints. A scope that fails drops its own
// events and no others. After-commit handlers run with the connection back
// in the pool, and with a context that is in no transaction and is not
// cancelled when the caller hangs up. Their errors do not reach the caller
// of [InTx]: a subscriber must not make a committed order look failed.
//
// # Events are immutable
//
// The header has no setters, handlers get copies, and a struct with a
// slice, map, pointer, channel, function or interface in it is refused by
// [Subscribe] (a panic) and [Publish] (an error), which name the field. Use
// a [List] instead of a slice, or give the event a method Clone() that
// returns a deep copy, which the bus calls for each call of a handler, or declare a
// type that does not let its memory be changed with [WithImmutable].
//
// # Names and versions
//
// An event that is stored or sent outlives the code that wrote it. A
// [Registry] gives its type a lasting name and a version; [Registry.Encode]
// makes a CloudEvent of it, and [Registry.Decode] gives the same event back,
// header and all. What would not be read back as it was is an error, which
// [Registry.Validate] finds beforehand where the type shows it. When its
// shape changes, raise the version and say with an [Upcast] how older data
// becomes the new shape:
//
//	tidings.Register[events.ProposalAccepted](registry, "crm.proposal_accepted", 2)
//	tidings.Upcast(registry, "crm.proposal_accepted", 1, proposalAcceptedV1to2)
//
// # Errors
//
// Mistakes in wiring panic, like those of [net/http.ServeMux.Handle].
// Everything at run time is an error value. A failed handler is a
// [*HandlerError], a panic in it a [*PanicError] inside of that; several are
// joined with [errors.Join], so [errors.Is] and [errors.As] find them.
//
// # Testing
//
// Handlers are functions: call them with an event. For the rest there is
// package tidingstest: a bus for one test, a recorder of what was delivered
// and what was rolled back, and code run as if committed in a transaction
// that the test rolls back.
package tidings
