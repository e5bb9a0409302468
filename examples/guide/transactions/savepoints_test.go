package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

// acceptAll accepts all proposals within the limit, and commits once. Inside a
// transaction, the InTx of accept sets a savepoint.
func acceptAll(ctx context.Context, db *sql.DB, bus *tidings.EventBus, ids ...int64) error {
	return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
		for _, id := range ids {
			err := accept(ctx, db, bus, id)
			fmt.Printf("accept %d: %v\n", id, err)
			if err != nil && !errors.Is(err, errLimit) {
				return err
			}
		}
		return nil
	})
}

func Example_savepoints() {
	db := openDB()
	defer db.Close()
	bus := tidings.New()
	tidings.Subscribe(bus, sendWelcome)

	fmt.Println("all:", acceptAll(context.Background(), db, bus, 7, 8, 9))
	fmt.Println("accepted:", accepted(db))
	// Output:
	// accept 7: <nil>
	// accept 8: credit limit exceeded
	// accept 9: <nil>
	// mail: welcome, proposal 7 is accepted
	// mail: welcome, proposal 9 is accepted
	// all: <nil>
	// accepted: 2
}
