package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

func Example_phases() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	for _, phase := range []tidings.Phase{
		tidings.AfterCommit, tidings.AfterRollback, tidings.BeforeCommit, tidings.InTransaction,
	} {
		tidings.Subscribe(bus, func(ctx context.Context, e ProposalAccepted) error {
			_, inside := tidings.TxFrom[*sql.Tx](ctx, db)
			fmt.Printf("  %v, inside the transaction: %v\n", phase, inside)
			return nil
		}, phase)
	}

	for _, id := range []int64{7, 8} {
		err := tidings.InTx(context.Background(), db, nil, func(ctx context.Context, tx *sql.Tx) error {
			fmt.Println("proposal", id)
			amount, err := setAccepted(ctx, tx, id)
			if err != nil {
				return err
			}
			err = tidings.Publish(ctx, bus, ProposalAccepted{ProposalID: id, Amount: amount})
			fmt.Println("  published")
			return errors.Join(err, checkCredit(amount))
		})
		fmt.Println("  InTx returns", err)
	}
	// Output:
	// proposal 7
	//   InTransaction, inside the transaction: true
	//   published
	//   BeforeCommit, inside the transaction: true
	//   AfterCommit, inside the transaction: false
	//   InTx returns <nil>
	// proposal 8
	//   InTransaction, inside the transaction: true
	//   published
	//   AfterRollback, inside the transaction: false
	//   InTx returns credit limit exceeded
}
