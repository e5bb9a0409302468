package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/proposals/credit"
	"github.com/tidings-go/tidings/examples/proposals/crm"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/internal/database"
	"github.com/tidings-go/tidings/examples/proposals/internal/report"
)

//go:embed proposals.csv
var defaultSheet []byte

// run does the job.
func (o options) run(ctx context.Context, stdout io.Writer) (err error) {
	out := report.New(stdout)
	sheet, sheetName, err := o.sheet()
	if err != nil {
		return err
	}
	file, fileName, remove, err := o.database()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	db, err := database.Open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	m, err := assemble(ctx, db, o.portal)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if o.replay {
		return errors.Join(m.replay(ctx, file, out), m.bus.Close(ctx))
	}
	before, err := database.Tables(ctx, db)
	if err != nil {
		return err
	}
	out.Sources(sheetName, fileName)
	out.Handlers(m.bus.Subscriptions())

	imported, err := m.crm.Import(ctx, bytes.NewReader(sheet))
	if err != nil {
		return fmt.Errorf("%s: %w", sheetName, err)
	}
	out.Import(imported)
	totals, err := m.acceptAll(ctx, imported.Proposals, out)
	if err != nil {
		return err
	}
	if err := m.bus.Close(ctx); err != nil {
		return err
	}

	after, err := database.Tables(ctx, db)
	if err != nil {
		return err
	}
	firms, err := m.reports.Firms(ctx)
	if err != nil {
		return err
	}
	out.Sales(firms)
	out.Tables(before, after)
	totals.Unchanged = slices.Equal(before, after)
	totals.EventsDelivered = database.Rows(after, eventsTable) - database.Rows(before, eventsTable)
	out.Summary(totals)
	return out.Err()
}

// eventsTable is the table of the event log.
const eventsTable = "tidings_events"

// sheet returns the CSV file and its name.
func (o options) sheet() (content []byte, name string, err error) {
	if o.csv == "" {
		return defaultSheet, "proposals.csv, the one in the program (another: -csv file)", nil
	}
	content, err = os.ReadFile(o.csv)
	return content, o.csv, err
}

// database returns the database file, a description of it, and a function that
// cleans up.
func (o options) database() (file, name string, remove func() error, err error) {
	if o.db != "" {
		return o.db, o.db, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "proposals-")
	if err != nil {
		return "", "", nil, err
	}
	file = filepath.Join(dir, "proposals.db")
	return file, file + ", removed at the end (kept: -db file)", func() error { return os.RemoveAll(dir) }, nil
}

// acceptAll accepts proposals one after the other, each in its own workflow.
func (m *monolith) acceptAll(ctx context.Context, proposals []crm.Proposal, out *report.Report) (report.Totals, error) {
	var totals report.Totals
	earlier, err := m.workflows(ctx)
	if err != nil {
		return totals, err
	}
	for _, p := range proposals {
		// In a service this would be the ID of the request.
		workflow, err := uuid.NewV7()
		if err != nil {
			return totals, err
		}
		reported := len(m.trace.Failures())
		accepted, refusal := m.crm.Accept(tidings.WithCorrelationID(ctx, workflow), p.ID)
		if refusal != nil && !errors.Is(refusal, credit.ErrLimitExceeded) {
			return totals, refusal
		}
		before, known := earlier[p.ID]
		if refusal == nil && !accepted && known {
			workflow = before
		}
		logged, err := m.log.Workflow(ctx, workflow)
		if err != nil {
			return totals, err
		}
		tree := m.trace.Workflow(logged, workflow)
		switch {
		case refusal != nil:
			totals.RolledBack++
			out.RolledBack(p, workflow, tree, refusal)
		case accepted:
			totals.Accepted++
			out.Accepted(p, workflow, tree, m.trace.Failures()[reported:])
		default:
			totals.AcceptedBefore++
			out.AcceptedBefore(p, workflow, tree)
		}
	}
	totals.EventsRolledBack = m.trace.RolledBack()
	totals.HandlersFailed = len(m.trace.Failures())
	return totals, nil
}

// workflows returns the workflows in the log, by the accepted proposal.
func (m *monolith) workflows(ctx context.Context) (map[int64]uuid.UUID, error) {
	workflows := map[int64]uuid.UUID{}
	for recorded, err := range m.log.Read(ctx, eventlog.Types("crm.proposal_accepted")) {
		if err != nil {
			return nil, err
		}
		workflows[recorded.Event.(events.ProposalAccepted).ProposalID] = recorded.Event.CorrelationID()
	}
	return workflows, nil
}
