// Package crm is the module that manages proposals.
package crm

import (
	"context"
	"database/sql"
	"fmt"
)

// Schema creates the tables of crm.
const Schema = `CREATE TABLE proposals (id INTEGER PRIMARY KEY, company TEXT NOT NULL, accepted BOOLEAN NOT NULL DEFAULT FALSE);`

// A Proposal is an offer to a company.
type Proposal struct {
	ID      int64
	Company string
}

// An Onboarder is clients.Service. crm cannot import clients, since clients
// imports crm for the Proposal.
type Onboarder interface {
	Onboard(ctx context.Context, tx *sql.Tx, p Proposal) error
}

// A Service is the API of the module crm.
type Service struct {
	DB      *sql.DB
	Clients Onboarder // set after both services are constructed
}

// Accept accepts a proposal, and makes its company a client.
func (s *Service) Accept(ctx context.Context, id int64) (err error) {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	p := Proposal{ID: id}
	err = tx.QueryRowContext(ctx, "UPDATE proposals SET accepted = TRUE WHERE id = ? RETURNING company", id).Scan(&p.Company)
	if err != nil {
		return fmt.Errorf("crm: accept proposal %d: %w", id, err)
	}
	if err := s.Clients.Onboard(ctx, tx, p); err != nil {
		return fmt.Errorf("crm: accept proposal %d: %w", id, err)
	}
	return tx.Commit()
}
