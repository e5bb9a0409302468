package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

// accept publishes inside the transaction, which the bus finds in ctx.
func accept(ctx context.Context, db *sql.DB, bus *tidings.EventBus, id int64) error {
	return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
		amount, err := setAccepted(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id, Amount: amount}); err != nil {
			return err
		}
		return checkCredit(amount)
	})
}

func Example_hook() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	tidings.Subscribe(bus, sendWelcome)

	fmt.Println("accept 8:", accept(context.Background(), db, bus, 8))
	fmt.Println("accept 7:", accept(context.Background(), db, bus, 7))
	fmt.Println("accepted:", accepted(db))
	// Output:
	// accept 8: credit limit exceeded
	// mail: welcome, proposal 7 is accepted
	// accept 7: <nil>
	// accepted: 1
}

func Example_failureAfterCommit() {
	db := openDB()
	defer db.Close()
	bus := tidings.New(tidings.WithErrorHandler(func(_ context.Context, err error) {
		fmt.Println("reported:", err)
	}))
	tidings.Subscribe(bus, func(context.Context, ProposalAccepted) error {
		return errors.New("no mail server")
	}, tidings.Named("mail.welcome"))

	fmt.Println("accept:", accept(context.Background(), db, bus, 7))
	// Output:
	// reported: tidings: mail.welcome handling transactions_test.ProposalAccepted: no mail server
	// accept: <nil>
}
