// Package tidingstest helps to test code that publishes and handles events.
//
//	func TestAcceptCreatesClient(t *testing.T) {
//		bus := tidingstest.NewBus(t)
//		rec := tidingstest.Record(bus)
//		clients.Register(bus)
//
//		err := tidings.Publish(t.Context(), bus, crm.ProposalAccepted{ProposalID: 7, FirmID: 1})
//		require.NoError(t, err)
//
//		created := tidingstest.Require[clients.ClientCreated](t, rec.Delivered())
//		require.EqualValues(t, 1, created.FirmID)
//		tidingstest.RequireNone[clients.Rejected](t, rec.Delivered())
//	}
//
// Nothing here sleeps or polls. Handlers run in the goroutine of the publisher,
// so everything has happened when Publish, InTx or [Commit] returns; for
// [tidings.Async] handlers call [Drain].
//
// # Overview
//
//   - [NewBus] makes a bus that ends with the test, and fails the test for
//     errors that no caller gets.
//   - [Record] records the events that were delivered, and those that were
//     published but rolled back.
//   - [Require], [RequireNone], [RequireSequence], [RequireSubsequence] and
//     [All] find events by type, and return them. A failure lists all events
//     with their fields.
//   - [Sandbox] and [Commit] run code that commits in a transaction that the
//     test rolls back.
//   - [Clock] sets the time of a bus.
//
// Package tidingstest/transporttest, for authors of transports, checks one.
package tidingstest
