// Package store stores the reservations of each company's credit.
package store

import (
	"context"
	"database/sql"

	"github.com/tidings-go/tidings/examples/proposals/events"
)

// Schema creates the tables of credit.
const Schema = `
CREATE TABLE IF NOT EXISTS credit_reservations (
	proposal_id INTEGER PRIMARY KEY, -- of crm; no foreign key leads there
	firm        TEXT    NOT NULL,
	company     TEXT    NOT NULL,
	amount      INTEGER NOT NULL
)`

// Reserve reserves an amount, once for each proposal, and returns the sum of the
// company's reservations.
func Reserve(ctx context.Context, tx *sql.Tx, proposal int64, firm, company string, amount events.Money) (total events.Money, err error) {
	_, err = tx.ExecContext(ctx, `
		INSERT INTO credit_reservations (proposal_id, firm, company, amount) VALUES (?, ?, ?, ?)
		ON CONFLICT (proposal_id) DO NOTHING`, proposal, firm, company, amount)
	if err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `SELECT SUM(amount) FROM credit_reservations WHERE firm = ? AND company = ?`, firm, company).Scan(&total)
	return total, err
}
