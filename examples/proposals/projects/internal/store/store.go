// Package store keeps projects.
package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Schema creates the tables of projects.
const Schema = `
CREATE TABLE IF NOT EXISTS projects_projects (
	id          INTEGER PRIMARY KEY,
	contract_id INTEGER NOT NULL UNIQUE, -- of clients; no foreign key leads there
	firm        TEXT NOT NULL,
	name        TEXT NOT NULL,
	starts_on   DATE NOT NULL
)`

// A Project is one to be stored.
type Project struct {
	Contract int64
	Firm     string
	Name     string
	StartsOn time.Time
}

// AddProject stores a project and returns its ID, and false if there is one
// for that contract.
func AddProject(ctx context.Context, tx *sql.Tx, p Project) (id int64, added bool, err error) {
	err = tx.QueryRowContext(ctx, `
		INSERT INTO projects_projects (contract_id, firm, name, starts_on) VALUES (?, ?, ?, ?)
		ON CONFLICT (contract_id) DO NOTHING
		RETURNING id`, p.Contract, p.Firm, p.Name, p.StartsOn).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, err
}
