package main

import (
	"context"
	"database/sql"
	"net/url"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/proposals/clients"
	"github.com/tidings-go/tidings/examples/proposals/credit"
	"github.com/tidings-go/tidings/examples/proposals/crm"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/internal/trace"
	"github.com/tidings-go/tidings/examples/proposals/portal"
	"github.com/tidings-go/tidings/examples/proposals/projects"
	"github.com/tidings-go/tidings/examples/proposals/reports"
)

// creditLimit is the amount that a company may order from a firm.
const creditLimit events.Money = 100_000_00

// A monolith is all modules, on one bus and one database.
type monolith struct {
	bus     *tidings.EventBus
	log     *eventlog.Log
	crm     *crm.Service
	reports *reports.Service
	trace   *trace.Trace
}

// assemble is the only function that imports all modules.
func assemble(ctx context.Context, db *sql.DB, portalURL *url.URL) (*monolith, error) {
	m := &monolith{trace: &trace.Trace{}}
	m.bus = tidings.New(tidings.WithErrorHandler(m.trace.HandleError))

	var registry tidings.Registry
	events.Register(&registry)
	var err error
	if m.log, err = eventlog.Open(ctx, eventlog.SQLite(db), &registry); err != nil {
		return nil, err
	}
	m.log.Attach(m.bus)

	if m.crm, err = crm.Register(ctx, m.bus, db); err != nil {
		return nil, err
	}
	if err := credit.Register(ctx, m.bus, db, creditLimit); err != nil {
		return nil, err
	}
	if err := clients.Register(ctx, m.bus, db); err != nil {
		return nil, err
	}
	if err := projects.Register(ctx, m.bus, db); err != nil {
		return nil, err
	}
	if m.reports, err = reports.Register(ctx, m.bus, db); err != nil {
		return nil, err
	}
	portal.Register(m.bus, portalURL)
	m.trace.Register(m.bus)
	return m, nil
}
