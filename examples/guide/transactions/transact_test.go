package transactions_test

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions"
)

func Example_transact() {
	db := sqlx.NewDb(openDB(), "sqlite3")
	defer db.Close()
	bus := tidings.New()
	tidings.Subscribe(bus, sendWelcome)

	err := tidings.Transact(context.Background(), transactions.Sqlx(db), func(ctx context.Context) error {
		tx, _ := tidings.TxFrom[*sqlx.Tx](ctx, db)
		event := ProposalAccepted{ProposalID: 7}
		err := tx.GetContext(ctx, &event.Amount, "UPDATE proposals SET accepted = TRUE WHERE id = ? RETURNING amount", event.ProposalID)
		if err != nil {
			return err
		}
		return tidings.Publish(ctx, bus, event)
	})
	fmt.Println("transact:", err)
	// Output:
	// mail: welcome, proposal 7 is accepted
	// transact: <nil>
}
