package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

// A phase sets when a handler runs, relative to the publisher's transaction.
func ExamplePhase() {
	type OrderPlaced struct{ tidings.DomainEvent }
	bus := tidings.New()
	does := func(what string) func(context.Context, OrderPlaced) error {
		return func(context.Context, OrderPlaced) error { fmt.Println(what); return nil }
	}
	tidings.Subscribe(bus, does("InTransaction: reserve the stock"), tidings.InTransaction)
	tidings.Subscribe(bus, does("BeforeCommit: check the credit limit"), tidings.BeforeCommit)
	tidings.Subscribe(bus, does("AfterCommit: send the mail")) // the default
	tidings.Subscribe(bus, does("AfterRollback: give the coupon back"), tidings.AfterRollback)

	db := openShop()
	place := func(ctx context.Context, fails error) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
			if err := tidings.Publish(ctx, bus, OrderPlaced{}); err != nil {
				return err
			}
			fmt.Println("published")
			return fails
		})
	}
	ctx := context.Background()
	fmt.Println(place(ctx, nil))
	fmt.Println(place(ctx, errors.New("card declined")))
	// Output:
	// InTransaction: reserve the stock
	// published
	// BeforeCommit: check the credit limit
	// AfterCommit: send the mail
	// <nil>
	// InTransaction: reserve the stock
	// published
	// AfterRollback: give the coupon back
	// card declined
}

// A handler before the commit can refuse the change. A handler after the commit
// cannot make a committed order look as if it had failed.
func ExamplePhase_failures() {
	type OrderPlaced struct {
		tidings.DomainEvent
		Amount int
	}
	bus := tidings.New(tidings.WithErrorHandler(func(_ context.Context, err error) {
		fmt.Println("reported:", err)
	}))
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		if e.Amount > 100 {
			return errors.New("over the limit")
		}
		return nil
	}, tidings.Named("credit.check"), tidings.BeforeCommit)
	tidings.Subscribe(bus, func(context.Context, OrderPlaced) error {
		return errors.New("no route to host")
	}, tidings.Named("mail.send"))

	db := openShop()
	for _, amount := range []int{1000, 10} {
		err := tidings.InTx(context.Background(), db, nil, func(ctx context.Context, _ *sql.Tx) error {
			return tidings.Publish(ctx, bus, OrderPlaced{Amount: amount})
		})
		fmt.Printf("order for %d: %v\n", amount, err)
	}
	// Output:
	// order for 1000: tidings: credit.check handling tidings_test.OrderPlaced: over the limit
	// reported: tidings: mail.send handling tidings_test.OrderPlaced: no route to host
	// order for 10: <nil>
}
