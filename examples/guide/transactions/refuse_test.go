package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/internal/memdb"
)

// A reserver reserves credit of the company, in the publisher's transaction.
type reserver struct{ db *sql.DB }

func (r reserver) reserve(ctx context.Context, e ProposalAccepted) error {
	tx, ok := tidings.TxFrom[*sql.Tx](ctx, r.db)
	if !ok {
		return errors.New("credit: a proposal was accepted outside a transaction")
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO reservations VALUES (?, ?)", e.ProposalID, e.Amount)
	if err != nil {
		return err
	}
	return checkCredit(e.Amount)
}

func Example_refuse() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	tidings.Subscribe(bus, reserver{db}.reserve, tidings.InTransaction, tidings.Named("credit.reserve"))

	fmt.Println(accept(context.Background(), db, bus, 8))
	fmt.Println("accepted:", accepted(db))
	fmt.Println("reserved:", memdb.Count(db, "SELECT count(*) FROM reservations"))
	// Output:
	// tidings: credit.reserve handling transactions_test.ProposalAccepted: credit limit exceeded
	// accepted: 0
	// reserved: 0
}
