package crm_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/crm"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/internal/database/databasetest"
	"github.com/tidings-go/tidings/tidingstest"
)

const header = "firm,number,type,company,contact_email,service,amount,starts_on,portal\n"

func TestImport_Once(t *testing.T) {
	t.Parallel()
	service, _, db := setup(t)
	sheet := header +
		"Mill,MLT-1,prospective_client,Tern,ops@tern.example,Payroll,100.50,2027-01-04,no\n" +
		"Harbour,MLT-1,renewal_client,Tern,ops@tern.example,Payroll,7,2027-01-04,yes\n"

	first := importSheet(t, service, sheet)
	require.Equal(t, crm.Import{Lines: 2, Proposals: []crm.Proposal{
		{ID: 1, Firm: "Mill", Number: "MLT-1", Type: events.Prospective, Company: "Tern", Amount: 100_50, New: true},
		{ID: 2, Firm: "Harbour", Number: "MLT-1", Type: events.Renewal, Company: "Tern", Amount: 7_00, New: true},
	}}, first, "a number is the firm's own")

	second := importSheet(t, service, sheet)
	require.Len(t, second.Proposals, 2)
	for i, p := range second.Proposals {
		require.Equal(t, first.Proposals[i].ID, p.ID)
		require.False(t, p.New)
	}

	changed := importSheet(t, service, strings.Replace(sheet, "100.50", "200.50", 1))
	require.Len(t, changed.Proposals, 1)
	require.Len(t, changed.Rejected, 1)
	require.Equal(t, 2, changed.Rejected[0].Line)
	require.ErrorContains(t, changed.Rejected[0].Err, "stored before with other values")
	require.Equal(t, 100_50, databasetest.Count(t, db, `SELECT amount FROM crm_proposals WHERE id = 1`))
}

func TestAccept_PublishesOnce(t *testing.T) {
	t.Parallel()
	service, bus, db := setup(t)
	rec := tidingstest.Record(bus)
	p := importOne(t, service)

	accepted, err := service.Accept(t.Context(), p.ID)
	require.NoError(t, err)
	require.True(t, accepted)
	e := tidingstest.Require[events.ProposalAccepted](t, rec.Delivered())
	require.Equal(t, events.ProposalAccepted{
		DomainEvent: e.DomainEvent, ProposalID: p.ID, Firm: "Mill", Number: "MLT-1", Type: events.Prospective,
		Company: "Tern", ContactEmail: "ops@tern.example", Service: "Payroll", Amount: 100_00,
		StartsOn: time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC), Portal: true,
	}, e)
	var at time.Time
	require.NoError(t, db.QueryRow(`SELECT accepted_at FROM crm_proposals`).Scan(&at))
	require.True(t, e.OccurredAt().Equal(at), "the row tells the time of the event")

	accepted, err = service.Accept(t.Context(), p.ID)
	require.NoError(t, err)
	require.False(t, accepted)
	require.Len(t, rec.Delivered(), 1)
}

func TestAccept_Refused(t *testing.T) {
	t.Parallel()
	service, bus, db := setup(t)
	rec := tidingstest.Record(bus)
	refusal := errors.New("not today")
	no := tidings.Subscribe(bus, func(context.Context, events.ProposalAccepted) error { return refusal }, tidings.BeforeCommit)
	p := importOne(t, service)

	accepted, err := service.Accept(t.Context(), p.ID)
	require.ErrorIs(t, err, refusal)
	require.False(t, accepted)
	require.Empty(t, rec.Delivered())
	tidingstest.RequireSequence(t, rec.RolledBack(), tidingstest.Of[events.ProposalAccepted]())
	require.Zero(t, databasetest.Count(t, db, `SELECT COUNT(accepted_at) FROM crm_proposals`))

	no.Unsubscribe()
	accepted, err = service.Accept(t.Context(), p.ID)
	require.NoError(t, err)
	require.True(t, accepted, "it is still open")
}

func TestAccept_Unknown(t *testing.T) {
	t.Parallel()
	service, _, _ := setup(t)
	_, err := service.Accept(t.Context(), 7)
	require.ErrorIs(t, err, sql.ErrNoRows)
	require.ErrorContains(t, err, "proposal 7")
}

func TestNoteContract_KeepsTheFirst(t *testing.T) {
	t.Parallel()
	service, bus, db := setup(t)
	p := importOne(t, service)
	for contract := range int64(3) {
		require.NoError(t, tidings.Publish(t.Context(), bus, events.ContractSigned{ContractID: 10 + contract, ProposalID: p.ID}))
	}
	require.Equal(t, 10, databasetest.Count(t, db, `SELECT contract_id FROM crm_proposals WHERE id = ?`, p.ID))
}

func setup(t *testing.T) (*crm.Service, *tidings.EventBus, *sql.DB) {
	t.Helper()
	bus, db := tidingstest.NewBus(t), databasetest.New(t)
	service, err := crm.Register(t.Context(), bus, db)
	require.NoError(t, err)
	return service, bus, db
}

func importSheet(t *testing.T, service *crm.Service, sheet string) crm.Import {
	t.Helper()
	done, err := service.Import(t.Context(), strings.NewReader(sheet))
	require.NoError(t, err)
	return done
}

func importOne(t *testing.T, service *crm.Service) crm.Proposal {
	t.Helper()
	done := importSheet(t, service, header+"Mill,MLT-1,prospective_client,Tern,ops@tern.example,Payroll,100.00,2027-01-04,yes\n")
	require.Len(t, done.Proposals, 1)
	return done.Proposals[0]
}
