// Package projects is the module that plans the work for contracts.
package projects

import (
	"context"
	"database/sql"
	"fmt"
)

// Schema creates the tables of projects.
const Schema = `CREATE TABLE projects (id INTEGER PRIMARY KEY, contract_id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL);`

// A Service is the API of the module projects.
type Service struct{}

// Open creates the project of a contract.
func (*Service) Open(ctx context.Context, tx *sql.Tx, contract int64, company string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO projects (contract_id, name) VALUES (?, ?)", contract, "Work for "+company)
	if err != nil {
		return fmt.Errorf("projects: open project for contract %d: %w", contract, err)
	}
	return nil
}
