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
	"github.com/tidings-go/tidings/examples/proposals/credit"
	"github.com/tidings-go/tidings/examples/proposals/crm"
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
	out.Tables(before, after)
	totals.Unchanged = slices.Equal(before, after)
	out.Summary(totals)
	return out.Err()
}

// sheet returns the CSV file and what to call it.
func (o options) sheet() (content []byte, name string, err error) {
	if o.csv == "" {
		return defaultSheet, "proposals.csv, the one in the program (another: -csv file)", nil
	}
	content, err = os.ReadFile(o.csv)
	return content, o.csv, err
}

// database returns the database file, what to say of it, and what to do with
// it in the end.
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

// acceptAll accepts proposals in turn, each as a workflow of its own.
func (m *monolith) acceptAll(ctx context.Context, proposals []crm.Proposal, out *report.Report) (report.Totals, error) {
	var totals report.Totals
	var before []crm.Proposal
	for _, p := range proposals {
		// In a service this would be the ID of the request.
		workflow, err := uuid.NewV7()
		if err != nil {
			return totals, err
		}
		reported := len(m.trace.Failures())
		accepted, err := m.crm.Accept(tidings.WithCorrelationID(ctx, workflow), p.ID)
		switch {
		case errors.Is(err, credit.ErrLimitExceeded):
			totals.RolledBack++
			out.RolledBack(p, workflow, m.trace.Workflow(workflow), err)
		case err != nil:
			return totals, err
		case accepted:
			totals.Accepted++
			out.Accepted(p, workflow, m.trace.Workflow(workflow), m.trace.Failures()[reported:])
		default:
			totals.AcceptedBefore++
			before = append(before, p)
		}
	}
	out.AcceptedBefore(before)
	totals.EventsDelivered, totals.EventsRolledBack = m.trace.Events()
	totals.HandlersFailed = len(m.trace.Failures())
	return totals, nil
}
