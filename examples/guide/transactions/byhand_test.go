package transactions_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
)

// acceptByHand shows the hook in code that begins and commits a transaction
// itself.
func acceptByHand(ctx context.Context, db *sql.DB, bus *tidings.EventBus, id int64) error {
	ctx, hook := tidings.NewTxHook(ctx, db)
	defer hook.Rollback(ctx)
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	ctx = tidings.WithTx(ctx, db, tx)

	amount, err := setAccepted(ctx, tx, id)
	if err != nil {
		return err
	}
	if err := tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id, Amount: amount}); err != nil {
		return err
	}

	if err := hook.Prepare(ctx); err != nil { // BeforeCommit handlers
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return hook.Commit(ctx) // AfterCommit handlers, whose errors it returns
}

func Example_byHand() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	tidings.Subscribe(bus, sendWelcome)

	fmt.Println("accept 7:", acceptByHand(context.Background(), db, bus, 7))
	fmt.Println("accepted:", accepted(db))
	// Output:
	// mail: welcome, proposal 7 is accepted
	// accept 7: <nil>
	// accepted: 1
}
