package tidings_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
)

// A TxFunc connects tidings to a database library. It begins a transaction, calls
// body with the transaction in its context, and commits or rolls back. Most libraries
// have a function that does most of this.
func ExampleTxFunc() {
	db := &shopDB{}
	shop := tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
		run := func(tx *shopTx) error { return body(tidings.WithTx(ctx, db, tx)) }
		if outer, ok := tidings.TxFrom[*shopTx](ctx, db); ok {
			return outer.Transaction(run)
		}
		return db.Transaction(run)
	}}

	type OrderPlaced struct {
		tidings.DomainEvent
		OrderID int
	}
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("mail: thank you for order", e.OrderID)
		return nil
	})
	place := func(id int) func(context.Context) error {
		return func(ctx context.Context) error {
			tx, _ := tidings.TxFrom[*shopTx](ctx, db)
			tx.Exec("INSERT INTO orders")
			return tidings.Publish(ctx, bus, OrderPlaced{OrderID: id})
		}
	}
	err := tidings.Transact(context.Background(), shop, func(ctx context.Context) error {
		return errors.Join(tidings.Transact(ctx, shop, place(1)), tidings.Transact(ctx, shop, place(2)))
	})
	fmt.Println(err)
	// Output:
	// BEGIN
	// SAVEPOINT
	// INSERT INTO orders
	// RELEASE
	// SAVEPOINT
	// INSERT INTO orders
	// RELEASE
	// COMMIT
	// mail: thank you for order 1
	// mail: thank you for order 2
	// <nil>
}

// A TxFunc may call body again, to retry. The events of the failed attempt are
// dropped.
func ExampleTxFunc_retry() {
	errConflict := errors.New("serialization failure")
	db := &shopDB{}
	retrying := tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
		for attempt := 1; ; attempt++ {
			err := db.Transaction(func(tx *shopTx) error { return body(tidings.WithTx(ctx, db, tx)) })
			if attempt == 3 || !errors.Is(err, errConflict) {
				return err
			}
		}
	}}

	type StockReserved struct {
		tidings.DomainEvent
		Attempt int
	}
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e StockReserved) error {
		fmt.Println("reserved in attempt", e.Attempt)
		return nil
	})
	attempt := 0
	err := tidings.Transact(context.Background(), retrying, func(ctx context.Context) error {
		attempt++
		if err := tidings.Publish(ctx, bus, StockReserved{Attempt: attempt}); err != nil {
			return err
		}
		if attempt == 1 {
			return errConflict
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// BEGIN
	// ROLLBACK
	// BEGIN
	// COMMIT
	// reserved in attempt 2
	// <nil>
}

// A shopDB is a database library that prints its statements. As in many libraries,
// its method Transaction commits if its argument returns nil, and a transaction has
// the same method for savepoints.
type shopDB struct{ _ int }

type shopTx struct{}

func (*shopDB) Transaction(fn func(*shopTx) error) error {
	return printTx("BEGIN", "COMMIT", "ROLLBACK", fn)
}

func (*shopTx) Transaction(fn func(*shopTx) error) error {
	return printTx("SAVEPOINT", "RELEASE", "ROLLBACK TO", fn)
}

func (*shopTx) Exec(statement string) { fmt.Println(statement) }

func printTx(begin, commit, rollback string, fn func(*shopTx) error) error {
	fmt.Println(begin)
	end := rollback
	defer func() { fmt.Println(end) }()
	if err := fn(&shopTx{}); err != nil {
		return err
	}
	end = commit
	return nil
}
