package testing_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

// A unit test of a handler calls the function.
func TestOnboardTwice(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	module := &clients{bus, openDB(t)}

	event := tidings.Stamp(t.Context(), ProposalAccepted{ProposalID: 7, Company: "Quarry Stone"})
	require.NoError(t, module.onboard(t.Context(), event))
	require.NoError(t, module.onboard(t.Context(), event))

	created := tidingstest.All[ClientCreated](rec.Delivered())
	require.Len(t, created, 1)
	require.Equal(t, "Quarry Stone", created[0].Company)
}

// Record what a module publishes.
func TestAcceptSaysSo(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	module := &crm{bus, openDB(t)}

	require.NoError(t, module.accept(t.Context(), 7))

	accepted := tidingstest.Require[ProposalAccepted](t, rec.Delivered())
	require.EqualValues(t, 7, accepted.ProposalID)
}

func TestAcceptUnknown(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	module := &crm{bus, openDB(t)}

	require.ErrorIs(t, module.accept(t.Context(), 8), errUnknown)
	tidingstest.RequireNone[tidings.Event](t, rec.Delivered())
}

// Two modules together.
func TestAcceptCreatesClient(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus) // before the handlers: an event comes before what it leads to
	db := openDB(t)
	(&clients{bus, db}).register()

	require.NoError(t, (&crm{bus, db}).accept(t.Context(), 7))

	tidingstest.RequireSequence(t, rec.Delivered(),
		tidingstest.Of[ProposalAccepted](),
		tidingstest.Of(func(e ClientCreated) bool { return e.Company == "Quarry Stone" }),
	)
	created := tidingstest.Require[ClientCreated](t, rec.Delivered())
	accepted := tidingstest.Require[ProposalAccepted](t, rec.Delivered())
	require.Equal(t, accepted.EventID(), created.CausationID())
}

// Events that were rolled back are recorded separately.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	refused := errors.New("credit limit exceeded")
	tidings.Subscribe(bus, func(context.Context, ProposalAccepted) error {
		return refused
	}, tidings.InTransaction, tidings.Named("credit.reserve"))

	require.ErrorIs(t, (&crm{bus, openDB(t)}).accept(t.Context(), 7), refused)

	tidingstest.RequireNone[ProposalAccepted](t, rec.Delivered())
	tidingstest.Require[ProposalAccepted](t, rec.RolledBack())
}

// The test rolls back its transaction, and after-commit handlers run
// nevertheless.
func TestInSandbox(t *testing.T) {
	t.Parallel()
	db := openDB(t) // usually one that all tests share
	ctx, tx := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	(&clients{bus, db}).register()

	require.NoError(t, (&crm{bus, db}).accept(ctx, 7))

	tidingstest.Require[ClientCreated](t, rec.Delivered())
	var n int
	require.NoError(t, tx.QueryRow("SELECT count(*) FROM clients").Scan(&n))
	require.Equal(t, 1, n)
}

// Commit tests code whose caller commits the transaction.
func TestInsideTransaction(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	ctx, tx := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)

	err := tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
		err := tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: 7})
		tidingstest.RequireNone[ProposalAccepted](t, rec.Delivered()) // not yet
		return err
	})
	require.NoError(t, err)
	tidingstest.Require[ProposalAccepted](t, rec.Delivered())
}

func TestAsync(t *testing.T) {
	t.Parallel()
	bus := tidingstest.NewBus(t)
	var mails []string
	tidings.Subscribe(bus, func(_ context.Context, e ClientCreated) error {
		mails = append(mails, e.Company)
		return nil
	}, tidings.Async(), tidings.Named("mail.welcome"))

	require.NoError(t, tidings.Publish(t.Context(), bus, ClientCreated{Company: "Quarry Stone"}))
	tidingstest.Drain(t, bus)
	require.Equal(t, []string{"Quarry Stone"}, mails)
}

// A failure after the commit fails the test, unless the test has an error
// handler.
func TestFailureAfterCommit(t *testing.T) {
	t.Parallel()
	var reported error
	bus := tidingstest.NewBus(t, tidings.WithErrorHandler(func(_ context.Context, err error) { reported = err }))
	down := errors.New("no mail server")
	tidings.Subscribe(bus, func(context.Context, ProposalAccepted) error { return down }, tidings.Named("mail.welcome"))

	require.NoError(t, (&crm{bus, openDB(t)}).accept(t.Context(), 7), "the proposal is accepted all the same")
	require.ErrorIs(t, reported, down)
}

func TestClock(t *testing.T) {
	t.Parallel()
	clock := tidingstest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	bus := tidingstest.NewBus(t, tidings.WithClock(clock.Now))
	rec := tidingstest.Record(bus)

	clock.Advance(90 * time.Minute)
	require.NoError(t, tidings.Publish(t.Context(), bus, ClientCreated{}))
	created := tidingstest.Require[ClientCreated](t, rec.Delivered())
	require.Equal(t, time.Date(2026, 3, 1, 10, 30, 0, 0, time.UTC), created.OccurredAt())
}
