// Package reports is the module that says what firms have sold. Its table is
// a read model: it holds nothing that the events do not say, so that it can
// be emptied and built again from the log.
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

// A Firm sums up what a firm has sold.
type Firm = store.Firm

// A Service answers what firms have sold.
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

// addSale counts a contract once, however often it hears of it.
func (s *Service) addSale(ctx context.Context, e events.ContractSigned) error {
	if err := store.AddSale(ctx, s.db, e.ContractID, e.Firm, e.Company, e.Amount); err != nil {
		return fmt.Errorf("reports: contract %d: %w", e.ContractID, err)
	}
	return nil
}

// Firms returns every firm that has sold something, by name.
func (s *Service) Firms(ctx context.Context) ([]Firm, error) { return store.Firms(ctx, s.db) }

// Clear empties the table, to have it built again.
func (s *Service) Clear(ctx context.Context) error { return store.DeleteSales(ctx, s.db) }
