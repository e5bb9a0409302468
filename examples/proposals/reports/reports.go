// Package reports is the module that reports the sales of firms. Its table is a
// read model: all its data comes from events, so that it can be emptied and rebuilt
// from the log.
package reports

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/proposals/events"
	"github.com/tidings-go/tidings/examples/proposals/reports/internal/store"
)

// Handler is the name of the handler that builds the table.
const Handler = "reports.add_sale"

// A Firm has the sales of a firm.
type Firm = store.Firm

// A Service queries the sales.
type Service struct{ db *sql.DB }

// Register creates the module's table in db and subscribes its handler.
func Register(ctx context.Context, bus *tidings.EventBus, db *sql.DB) (*Service, error) {
	if _, err := db.ExecContext(ctx, store.Schema); err != nil {
		return nil, fmt.Errorf("reports: create tables: %w", err)
	}
	s := &Service{db}
	tidings.Subscribe(bus, s.addSale, tidings.Named(Handler))
	return s, nil
}

// addSale is idempotent: it counts each contract once.
func (s *Service) addSale(ctx context.Context, e events.ContractSigned) error {
	if err := store.AddSale(ctx, s.db, e.ContractID, e.Firm, e.Company, e.Amount); err != nil {
		return fmt.Errorf("reports: contract %d: %w", e.ContractID, err)
	}
	return nil
}

// Firms returns all firms with sales, by name.
func (s *Service) Firms(ctx context.Context) ([]Firm, error) { return store.Firms(ctx, s.db) }

// Clear empties the table before it is rebuilt.
func (s *Service) Clear(ctx context.Context) error { return store.DeleteSales(ctx, s.db) }
