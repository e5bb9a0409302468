package sqlxtx_test

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tx/sqlxtx"
)

type ProposalAccepted struct {
	tidings.DomainEvent
	ProposalID int64
	Amount     int64
}

// proposals is a repository, for use inside and outside of transactions.
type proposals struct{ db *sqlx.DB }

func (p proposals) accept(ctx context.Context, id int64) (amount int64, err error) {
	db := sqlxtx.From(ctx, p.db)
	err = db.GetContext(ctx, &amount, db.Rebind("UPDATE proposals SET accepted = TRUE WHERE id = ? RETURNING amount"), id)
	return amount, err
}

func Example() {
	db := sqlx.MustOpen("sqlite", ":memory:")
	defer db.Close()
	db.SetMaxOpenConns(1)
	db.MustExec("CREATE TABLE proposals (id INTEGER PRIMARY KEY, amount INTEGER, accepted BOOLEAN)")
	db.MustExec("INSERT INTO proposals VALUES (7, 4000, FALSE), (8, 90000, FALSE)")

	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e ProposalAccepted) error {
		fmt.Printf("mail: proposal %d over %d is accepted\n", e.ProposalID, e.Amount)
		return nil
	})

	accept := func(id int64) error {
		return sqlxtx.InTx(context.Background(), db, nil, func(ctx context.Context, _ *sqlx.Tx) error {
			amount, err := proposals{db}.accept(ctx, id)
			if err != nil {
				return err
			}
			if err := tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id, Amount: amount}); err != nil {
				return err
			}
			if amount > 50000 {
				return fmt.Errorf("proposal %d is over the credit limit", id)
			}
			return nil
		})
	}
	fmt.Println(accept(7))
	fmt.Println(accept(8))
	// Output:
	// mail: proposal 7 over 4000 is accepted
	// <nil>
	// proposal 8 is over the credit limit
}
