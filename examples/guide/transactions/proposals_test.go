// Package transactions_test holds the steps of docs/transactions.md.
package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/internal/memdb"
)

const schema = `
CREATE TABLE proposals (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, accepted BOOLEAN NOT NULL DEFAULT FALSE);
CREATE TABLE reservations (proposal_id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
CREATE TABLE mails (event_id TEXT PRIMARY KEY, payload TEXT NOT NULL);
INSERT INTO proposals (id, amount) VALUES (7, 500), (8, 90000), (9, 700);
`

func openDB() *sql.DB { return memdb.Open(schema) }

func accepted(db *sql.DB) int {
	return memdb.Count(db, "SELECT count(*) FROM proposals WHERE accepted")
}

type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Amount     int64
}

// setAccepted is the same in every step.
func setAccepted(ctx context.Context, tx *sql.Tx, id int64) (amount int64, err error) {
	err = tx.QueryRowContext(ctx, "UPDATE proposals SET accepted = TRUE WHERE id = ? RETURNING amount", id).Scan(&amount)
	return amount, err
}

var errLimit = errors.New("credit limit exceeded")

func checkCredit(amount int64) error {
	if amount > 50000 {
		return errLimit
	}
	return nil
}

// sendWelcome stands for a function that sends a mail.
func sendWelcome(_ context.Context, e ProposalAccepted) error {
	fmt.Printf("mail: welcome, proposal %d is accepted\n", e.ProposalID)
	return nil
}
