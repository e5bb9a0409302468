package moving_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	coupledclients "github.com/tidings-go/tidings/examples/guide/coupled/clients"
	coupledcrm "github.com/tidings-go/tidings/examples/guide/coupled/crm"
	"github.com/tidings-go/tidings/examples/guide/coupled/projects"
	"github.com/tidings-go/tidings/examples/guide/internal/memdb"
	"github.com/tidings-go/tidings/examples/guide/moving/events"
	crm1 "github.com/tidings-go/tidings/examples/guide/moving/step1/crm"
	clients2 "github.com/tidings-go/tidings/examples/guide/moving/step2/clients"
	crm2 "github.com/tidings-go/tidings/examples/guide/moving/step2/crm"
	clients3 "github.com/tidings-go/tidings/examples/guide/moving/step3/clients"
	"github.com/tidings-go/tidings/examples/guide/moving/step3/portal"
	"github.com/tidings-go/tidings/tidingstest"
)

var errDown = errors.New("connection refused")

// A fakePortal accepts all calls, or is down.
type fakePortal struct {
	down     bool
	accounts []string
}

func (p *fakePortal) OpenAccount(_ context.Context, company string) error {
	if p.down {
		return errDown
	}
	p.accounts = append(p.accounts, company)
	return nil
}

// A monolith is one of the steps. assemble returns its function Accept.
type step struct {
	name     string
	assemble func(*sql.DB, *tidings.EventBus, *fakePortal) (accept func(context.Context, int64) error)
	// The result of an acceptance while the portal is down.
	acceptedWhenDown bool
	publishes        bool
}

var steps = []step{
	{"coupled", func(db *sql.DB, _ *tidings.EventBus, p *fakePortal) func(context.Context, int64) error {
		s := &coupledcrm.Service{DB: db}
		s.Clients = &coupledclients.Service{Projects: &projects.Service{}, Portal: p}
		return s.Accept
	}, false, false},
	{"step 1: say what happens", func(db *sql.DB, bus *tidings.EventBus, p *fakePortal) func(context.Context, int64) error {
		s := &crm1.Service{DB: db, Bus: bus}
		s.Clients = &coupledclients.Service{Projects: &projects.Service{}, Portal: p}
		return s.Accept
	}, false, true},
	{"step 2: turn the call around", func(db *sql.DB, bus *tidings.EventBus, p *fakePortal) func(context.Context, int64) error {
		clients2.Register(bus, db, &projects.Service{}, p)
		return (&crm2.Service{DB: db, Bus: bus}).Accept
	}, false, true},
	{"step 3: move what may be late", func(db *sql.DB, bus *tidings.EventBus, p *fakePortal) func(context.Context, int64) error {
		clients3.Register(bus, db, &projects.Service{})
		portal.Register(bus, p.OpenAccount)
		return (&crm2.Service{DB: db, Bus: bus}).Accept
	}, true, true},
}

// TestSteps shows that nothing changes for the user before step 3, and what step
// 3 changes.
func TestSteps(t *testing.T) {
	t.Parallel()
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			for _, down := range []bool{false, true} {
				db := memdb.Open(coupledcrm.Schema + coupledclients.Schema + projects.Schema +
					"INSERT INTO proposals VALUES (7, 'Quarry Stone', FALSE)")
				t.Cleanup(func() { require.NoError(t, db.Close()) })
				var reported error
				bus := tidingstest.NewBus(t, tidings.WithErrorHandler(func(_ context.Context, err error) { reported = err }))
				rec := tidingstest.Record(bus)
				p := &fakePortal{down: down}

				err := step.assemble(db, bus, p)(t.Context(), 7)

				rows := 0
				if accepted := !down || step.acceptedWhenDown; accepted {
					require.NoError(t, err)
					rows = 1
				} else {
					require.ErrorIs(t, err, errDown)
				}
				for _, query := range []string{
					"SELECT count(*) FROM proposals WHERE accepted", "SELECT count(*) FROM clients",
					"SELECT count(*) FROM contracts", "SELECT count(*) FROM projects",
				} {
					require.Equal(t, rows, memdb.Count(db, query), query)
				}
				if down && step.acceptedWhenDown {
					require.ErrorIs(t, reported, errDown)
				} else {
					require.NoError(t, reported)
				}
				if !down {
					require.Equal(t, []string{"Quarry Stone"}, p.accounts)
				}
				if step.publishes && rows > 0 {
					tidingstest.Require[events.ProposalAccepted](t, rec.Delivered())
				} else {
					tidingstest.RequireNone[tidings.Event](t, rec.Delivered())
				}
			}
		})
	}
}
