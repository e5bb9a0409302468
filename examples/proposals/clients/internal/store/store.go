// Package store keeps clients, their contracts and engagements.
package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tidings-go/tidings/examples/proposals/events"
)

// Schema creates the tables of clients.
const Schema = `
CREATE TABLE IF NOT EXISTS clients_clients (
	id            INTEGER PRIMARY KEY,
	firm          TEXT NOT NULL,
	company       TEXT NOT NULL,
	contact_email TEXT NOT NULL,
	UNIQUE (firm, company)
);
CREATE TABLE IF NOT EXISTS clients_contracts (
	id          INTEGER PRIMARY KEY,
	client_id   INTEGER NOT NULL REFERENCES clients_clients,
	proposal_id INTEGER NOT NULL UNIQUE, -- of crm; no foreign key leads there
	amount      INTEGER NOT NULL,
	starts_on   DATE    NOT NULL,
	follows     INTEGER REFERENCES clients_contracts -- the one that this updates or renews
);
CREATE TABLE IF NOT EXISTS clients_engagements (
	id          INTEGER PRIMARY KEY,
	contract_id INTEGER NOT NULL UNIQUE REFERENCES clients_contracts,
	service     TEXT    NOT NULL
)`

// ErrNoClient means that the company is not a client of the firm.
var ErrNoClient = errors.New("no such client")

// FindClient returns the ID of a client, or ErrNoClient.
func FindClient(ctx context.Context, tx *sql.Tx, firm, company string) (id int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT id FROM clients_clients WHERE firm = ? AND company = ?`, firm, company).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoClient
	}
	return id, err
}

// AddClient returns the ID of a client, new or not.
func AddClient(ctx context.Context, tx *sql.Tx, firm, company, contactEmail string) (id int64, added bool, err error) {
	err = tx.QueryRowContext(ctx, `
		INSERT INTO clients_clients (firm, company, contact_email) VALUES (?, ?, ?)
		ON CONFLICT (firm, company) DO NOTHING
		RETURNING id`, firm, company, contactEmail).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err == nil, err
	}
	id, err = FindClient(ctx, tx, firm, company)
	return id, false, err
}

// A Contract is one to be signed.
type Contract struct {
	Client   int64
	Proposal int64
	Amount   events.Money
	StartsOn time.Time
	Follows  int64 // 0: none
}

// AddContract stores a contract and returns its ID, and false if there is
// one for that proposal.
func AddContract(ctx context.Context, tx *sql.Tx, c Contract) (id int64, added bool, err error) {
	err = tx.QueryRowContext(ctx, `
		INSERT INTO clients_contracts (client_id, proposal_id, amount, starts_on, follows) VALUES (?, ?, ?, ?, NULLIF(?, 0))
		ON CONFLICT (proposal_id) DO NOTHING
		RETURNING id`, c.Client, c.Proposal, c.Amount, c.StartsOn, c.Follows).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, err
}

// LatestContract returns the ID of the client's newest contract, 0 if none.
func LatestContract(ctx context.Context, tx *sql.Tx, client int64) (id int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0) FROM clients_contracts WHERE client_id = ?`, client).Scan(&id)
	return id, err
}

// AddEngagement stores the engagement of a contract.
func AddEngagement(ctx context.Context, tx *sql.Tx, contract int64, service string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO clients_engagements (contract_id, service) VALUES (?, ?)`, contract, service)
	return err
}
