package projects_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/internal/database/databasetest"
	"github.com/tidings-go/tidings/examples/proposals/projects"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	bus, db := tidingstest.NewBus(t), databasetest.New(t)
	rec := tidingstest.Record(bus)
	require.NoError(t, projects.Register(t.Context(), bus, db))
	day := time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC)
	signed := tidings.Stamp(t.Context(), events.ContractSigned{
		ContractID: 3, Firm: "Mill", Company: "Tern", Service: "Payroll", StartsOn: day,
	})

	for range 2 { // delivered twice, counted once
		require.NoError(t, tidings.Publish(t.Context(), bus, signed))
	}
	all := tidingstest.All[events.ProjectCreated](rec.Delivered())
	require.Len(t, all, 1)
	require.Equal(t, events.ProjectCreated{
		DomainEvent: all[0].DomainEvent, ProjectID: 1, ContractID: 3, Firm: "Mill", Name: "Payroll for Tern", StartsOn: day,
	}, all[0])
	require.Equal(t, signed.EventID(), all[0].CausationID())
	require.Equal(t, 1, databasetest.Count(t, db, `SELECT COUNT(*) FROM projects_projects`))
}
