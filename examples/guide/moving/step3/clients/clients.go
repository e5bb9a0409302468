// Package clients creates clients and contracts in the publisher's transaction.
// For the account in the portal it publishes an event.
package clients

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/coupled/projects"
	"github.com/tidings-go/tidings/examples/guide/moving/events"
)

type module struct {
	bus      *tidings.EventBus
	db       *sql.DB
	projects *projects.Service
}

// Register subscribes the module's handlers.
func Register(bus *tidings.EventBus, db *sql.DB, projects *projects.Service) {
	m := &module{bus, db, projects}
	tidings.Subscribe(bus, m.onboard, tidings.InTransaction, tidings.Named("clients.onboard"))
}

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
	return tidings.Publish(ctx, m.bus, events.ClientCreated{ClientID: client, Company: e.Company})
}
