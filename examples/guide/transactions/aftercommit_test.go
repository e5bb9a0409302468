package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

// acceptInTx cannot publish: only its caller knows whether it will commit.
func acceptInTx(ctx context.Context, tx *sql.Tx, id int64) (ProposalAccepted, error) {
	amount, err := setAccepted(ctx, tx, id)
	if err != nil {
		return ProposalAccepted{}, err
	}
	return ProposalAccepted{ProposalID: id, Amount: amount}, checkCredit(amount)
}

// acceptAllByHand accepts several proposals in one transaction, and publishes
// after the commit.
func acceptAllByHand(ctx context.Context, db *sql.DB, bus *tidings.EventBus, ids ...int64) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var pending []ProposalAccepted
	for _, id := range ids {
		event, err := acceptInTx(ctx, tx, id)
		if err != nil {
			return err
		}
		pending = append(pending, event)
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	var errs []error
	for _, event := range pending {
		errs = append(errs, tidings.Publish(ctx, bus, event))
	}
	return errors.Join(errs...)
}

func Example_publishAfterCommit() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	tidings.Subscribe(bus, func(context.Context, ProposalAccepted) error {
		return errors.New("no mail server")
	}, tidings.Named("mail.welcome"))

	fmt.Println("accept:", acceptAllByHand(context.Background(), db, bus, 7))
	fmt.Println("accepted:", accepted(db))
	// Output:
	// accept: tidings: mail.welcome handling transactions_test.ProposalAccepted: no mail server
	// accepted: 1
}
