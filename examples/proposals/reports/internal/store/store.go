// Package store stores the sales of firms.
package store

import (
	"context"
	"database/sql"

	"github.com/tidings-go/tidings/examples/proposals/events"
)

// Schema creates the tables of reports.
const Schema = `
CREATE TABLE IF NOT EXISTS reports_sales (
	contract_id INTEGER NOT NULL PRIMARY KEY, -- of clients; no foreign key leads there
	firm        TEXT NOT NULL,
	company     TEXT NOT NULL,
	amount      INTEGER NOT NULL
)`

// AddSale stores a sale, unless it is stored already.
func AddSale(ctx context.Context, db *sql.DB, contract int64, firm, company string, amount events.Money) error {
	_, err := db.ExecContext(ctx, `
		INSERT INTO reports_sales (contract_id, firm, company, amount) VALUES (?, ?, ?, ?)
		ON CONFLICT (contract_id) DO NOTHING`, contract, firm, company, amount)
	return err
}

// DeleteSales deletes all of them.
func DeleteSales(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `DELETE FROM reports_sales`)
	return err
}

// A Firm sums up the sales of one firm.
type Firm struct {
	Name      string
	Contracts int
	Companies int
	Amount    events.Money
}

// Firms returns all firms with sales, by name.
func Firms(ctx context.Context, db *sql.DB) (firms []Firm, err error) {
	rows, err := db.QueryContext(ctx, `
		SELECT firm, COUNT(*), COUNT(DISTINCT company), SUM(amount)
		FROM reports_sales GROUP BY firm ORDER BY firm`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var f Firm
		if err := rows.Scan(&f.Name, &f.Contracts, &f.Companies, &f.Amount); err != nil {
			return nil, err
		}
		firms = append(firms, f)
	}
	return firms, rows.Err()
}
