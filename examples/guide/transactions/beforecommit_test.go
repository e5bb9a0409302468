package transactions_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
)

// acceptTooEarly publishes while the transaction is open. The bus does not know
// of the transaction, since it is not in ctx.
func acceptTooEarly(ctx context.Context, db *sql.DB, bus *tidings.EventBus, id int64) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	amount, err := setAccepted(ctx, tx, id)
	if err != nil {
		return err
	}
	if err := tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id, Amount: amount}); err != nil {
		return err
	}
	if err := checkCredit(amount); err != nil {
		return err
	}
	return tx.Commit()
}

func Example_publishBeforeCommit() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	tidings.Subscribe(bus, sendWelcome)

	fmt.Println("accept:", acceptTooEarly(context.Background(), db, bus, 8))
	fmt.Println("accepted:", accepted(db))
	// Output:
	// mail: welcome, proposal 8 is accepted
	// accept: credit limit exceeded
	// accepted: 0
}
