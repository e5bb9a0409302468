// Package projects is the module that plans the work for signed contracts.
package projects

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/projects/internal/store"
)

type module struct {
	bus *tidings.EventBus
	db  *sql.DB
}

// Register creates the module's tables in db and subscribes its handlers.
func Register(ctx context.Context, bus *tidings.EventBus, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, store.Schema); err != nil {
		return fmt.Errorf("projects: create tables: %w", err)
	}
	m := &module{bus, db}
	tidings.Subscribe(bus, m.open, tidings.Named("projects.open"))
	return nil
}

// open creates the project of a contract, once.
func (m *module) open(ctx context.Context, e events.ContractSigned) error {
	return tidings.InTx(ctx, m.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		name := e.Service + " for " + e.Company
		id, added, err := store.AddProject(ctx, tx, store.Project{
			Contract: e.ContractID, Firm: e.Firm, Name: name, StartsOn: e.StartsOn,
		})
		if err != nil {
			return fmt.Errorf("projects: open project for contract %d: %w", e.ContractID, err)
		}
		if !added {
			return nil
		}
		return tidings.Publish(ctx, m.bus, events.ProjectCreated{
			ProjectID: id, ContractID: e.ContractID, Firm: e.Firm, Name: name, StartsOn: e.StartsOn,
		})
	})
}
