package clients_test

import (
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/clients"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/internal/database/databasetest"
	"github.com/tidings-go/tidings/tidingstest"
)

var day = time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC)

func accepted(id int64, kind events.ProposalType, company string) events.ProposalAccepted {
	return events.ProposalAccepted{
		ProposalID: id, Firm: "Mill", Number: "MLT-1", Type: kind, Company: company,
		ContactEmail: "ops@tern.example", Service: "Payroll", Amount: 100_00, StartsOn: day, Portal: true,
	}
}

func TestOnboard_Prospective(t *testing.T) {
	t.Parallel()
	bus, rec, db := setup(t)
	require.NoError(t, tidings.Publish(t.Context(), bus, accepted(7, events.Prospective, "Tern")))

	tidingstest.RequireSequence(t, rec.Delivered(),
		tidingstest.Of[events.ProposalAccepted](), tidingstest.Of[events.ClientCreated](), tidingstest.Of[events.ContractSigned]())
	cause := tidingstest.Require[events.ProposalAccepted](t, rec.Delivered())
	created := tidingstest.Require[events.ClientCreated](t, rec.Delivered())
	require.Equal(t, events.ClientCreated{
		DomainEvent: created.DomainEvent, ClientID: 1, Firm: "Mill", Company: "Tern", ContactEmail: "ops@tern.example", Portal: true,
	}, created)
	signed := tidingstest.Require[events.ContractSigned](t, rec.Delivered())
	require.Equal(t, events.ContractSigned{
		DomainEvent: signed.DomainEvent, ContractID: 1, ClientID: 1, ProposalID: 7, Firm: "Mill", Company: "Tern",
		Service: "Payroll", Amount: 100_00, StartsOn: day,
	}, signed)
	require.Equal(t, cause.EventID(), created.CausationID())
	require.Equal(t, cause.EventID(), signed.CausationID())
	requireRows(t, db, 1, 1, 1)
}

func TestOnboard_UpdateAndRenewalFollowTheLatest(t *testing.T) {
	t.Parallel()
	bus, rec, db := setup(t)
	for i, kind := range []events.ProposalType{events.Prospective, events.Update, events.Renewal} {
		require.NoError(t, tidings.Publish(t.Context(), bus, accepted(int64(i+1), kind, "Tern")))
	}
	require.Len(t, tidingstest.All[events.ClientCreated](rec.Delivered()), 1)
	var follows []int64
	for _, signed := range tidingstest.All[events.ContractSigned](rec.Delivered()) {
		follows = append(follows, signed.Follows)
	}
	require.Equal(t, []int64{0, 1, 2}, follows)
	requireRows(t, db, 1, 3, 3)
}

func TestOnboard_ProspectThatIsAClient(t *testing.T) {
	t.Parallel()
	bus, rec, db := setup(t)
	for id := range int64(2) {
		require.NoError(t, tidings.Publish(t.Context(), bus, accepted(id+1, events.Prospective, "Tern")))
	}
	require.Len(t, tidingstest.All[events.ClientCreated](rec.Delivered()), 1)
	requireRows(t, db, 1, 2, 2)
}

func TestOnboard_NoClient(t *testing.T) {
	t.Parallel()
	for _, kind := range []events.ProposalType{events.Update, events.Renewal} {
		bus, rec, db := setup(t)
		err := tidings.Publish(t.Context(), bus, accepted(7, kind, "Tern"))
		require.ErrorContains(t, err, "clients: MLT-1 of Mill for Tern: no such client")
		tidingstest.RequireNone[events.ContractSigned](t, rec.Delivered())
		requireRows(t, db, 0, 0, 0)
	}
}

func TestOnboard_Idempotent(t *testing.T) {
	t.Parallel()
	bus, rec, db := setup(t)
	e := tidings.Stamp(t.Context(), accepted(7, events.Prospective, "Tern"))
	again := accepted(7, events.Prospective, "Tern") // the same proposal in another event
	for _, e := range []events.ProposalAccepted{e, e, again} {
		require.NoError(t, tidings.Publish(t.Context(), bus, e))
	}
	require.Len(t, tidingstest.All[events.ClientCreated](rec.Delivered()), 1)
	require.Len(t, tidingstest.All[events.ContractSigned](rec.Delivered()), 1)
	requireRows(t, db, 1, 1, 1)
}

func TestOnboard_SameEventAtOnce(t *testing.T) {
	t.Parallel()
	bus, rec, db := setup(t)
	e := tidings.Stamp(t.Context(), accepted(7, events.Prospective, "Tern"))
	var publishers sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		publishers.Go(func() { errs[i] = tidings.Publish(t.Context(), bus, e) })
	}
	publishers.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, tidingstest.All[events.ContractSigned](rec.Delivered()), 1)
	requireRows(t, db, 1, 1, 1)
}

func setup(t *testing.T) (*tidings.EventBus, *tidingstest.Recorder, *sql.DB) {
	t.Helper()
	bus, db := tidingstest.NewBus(t), databasetest.New(t)
	rec := tidingstest.Record(bus)
	require.NoError(t, clients.Register(t.Context(), bus, db))
	return bus, rec, db
}

func requireRows(t *testing.T, db *sql.DB, clients, contracts, engagements int) {
	t.Helper()
	require.Equal(t, clients, databasetest.Count(t, db, `SELECT COUNT(*) FROM clients_clients`), "clients")
	require.Equal(t, contracts, databasetest.Count(t, db, `SELECT COUNT(*) FROM clients_contracts`), "contracts")
	require.Equal(t, engagements, databasetest.Count(t, db, `SELECT COUNT(*) FROM clients_engagements`), "engagements")
}
