// Package clients reacts to accepted proposals, in their transaction.
package clients

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/coupled/clients"
	"github.com/tidings-go/tidings/examples/guide/coupled/projects"
	"github.com/tidings-go/tidings/examples/guide/moving/events"
)

type module struct {
	db       *sql.DB
	projects *projects.Service
	portal   clients.Portal
}

// Register subscribes the module's handlers.
func Register(bus *tidings.EventBus, db *sql.DB, projects *projects.Service, portal clients.Portal) {
	m := &module{db, projects, portal}
	tidings.Subscribe(bus, m.onboard, tidings.InTransaction, tidings.Named("clients.onboard"))
}

// onboard has the body of Onboard. It finds the transaction in ctx, and its
// error still rolls back the acceptance.
func (m *module) onboard(ctx context.Context, e events.ProposalAccepted) error {
	tx, ok := tidings.TxFrom[*sql.Tx](ctx, m.db)
	if !ok {
		return errors.New("clients: a proposal was accepted outside a transaction")
	}
	var client, contract int64
	err := tx.QueryRowContext(ctx, "INSERT INTO clients (company) VALUES (?) RETURNING id", e.Company).Scan(&client)
	if err != nil {
		return fmt.Errorf("clients: add %s: %w", e.Company, err)
	}
	err = tx.QueryRowContext(ctx, "INSERT INTO contracts (client_id, proposal_id) VALUES (?, ?) RETURNING id", client, e.ProposalID).Scan(&contract)
	if err != nil {
		return fmt.Errorf("clients: sign with %s: %w", e.Company, err)
	}
	if err := m.projects.Open(ctx, tx, contract, e.Company); err != nil {
		return err
	}
	if err := m.portal.OpenAccount(ctx, e.Company); err != nil {
		return fmt.Errorf("clients: open account of %s: %w", e.Company, err)
	}
	return nil
}
