// Package clients is the module that manages clients and their contracts.
package clients

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings/examples/guide/coupled/crm"
	"github.com/tidings-go/tidings/examples/guide/coupled/projects"
)

// Schema creates the tables of clients.
const Schema = `
CREATE TABLE clients (id INTEGER PRIMARY KEY, company TEXT NOT NULL UNIQUE);
CREATE TABLE contracts (id INTEGER PRIMARY KEY, client_id INTEGER NOT NULL, proposal_id INTEGER NOT NULL UNIQUE);
`

// A Portal opens accounts in another program, over the network.
type Portal interface {
	OpenAccount(ctx context.Context, company string) error
}

// A Service is the API of the module clients.
type Service struct {
	Projects *projects.Service
	Portal   Portal
}

// Onboard makes the company of an accepted proposal a client.
func (s *Service) Onboard(ctx context.Context, tx *sql.Tx, p crm.Proposal) error {
	var client, contract int64
	err := tx.QueryRowContext(ctx, "INSERT INTO clients (company) VALUES (?) RETURNING id", p.Company).Scan(&client)
	if err != nil {
		return fmt.Errorf("clients: add %s: %w", p.Company, err)
	}
	err = tx.QueryRowContext(ctx, "INSERT INTO contracts (client_id, proposal_id) VALUES (?, ?) RETURNING id", client, p.ID).Scan(&contract)
	if err != nil {
		return fmt.Errorf("clients: sign with %s: %w", p.Company, err)
	}
	if err := s.Projects.Open(ctx, tx, contract, p.Company); err != nil {
		return err
	}
	if err := s.Portal.OpenAccount(ctx, p.Company); err != nil {
		return fmt.Errorf("clients: open account of %s: %w", p.Company, err)
	}
	return nil
}
