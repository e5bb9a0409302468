package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tidings-go/tidings"
)

// NewTransactor connects tidings to a database library. It needs to know how to begin and
// end a transaction, and how to run a statement.
func ExampleNewTransactor() {
	db := &shopDB{}
	shop := newShop(db)

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
	// SAVEPOINT tidings
	// INSERT INTO orders
	// RELEASE SAVEPOINT tidings
	// SAVEPOINT tidings
	// INSERT INTO orders
	// RELEASE SAVEPOINT tidings
	// COMMIT
	// mail: thank you for order 1
	// mail: thank you for order 2
	// <nil>
}

// A TxFunc may call body again, to retry. The events of the failed attempt are
// dropped.
func ExampleTxFunc_retry() {
	errConflict := errors.New("serialization failure")
	shop := newShop(&shopDB{})
	retrying := tidings.Transactor{DB: shop.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
		for attempt := 1; ; attempt++ {
			err := shop.Run(ctx, body)
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

// newShop returns the Transactor of db.
func newShop(db *shopDB) tidings.Transactor {
	return tidings.NewTransactor(db, tidings.Library[*shopTx]{
		Begin: func(context.Context) (*shopTx, error) { return db.Begin(), nil },
		Exec: func(_ context.Context, tx *shopTx, statement string) error {
			tx.Exec(statement)
			return nil
		},
		Commit:   func(_ context.Context, tx *shopTx) error { tx.Exec("COMMIT"); return nil },
		Rollback: func(_ context.Context, tx *shopTx) error { tx.Exec("ROLLBACK"); return nil },
	})
}

// A shopDB is a database library that prints its statements.
type shopDB struct{ _ int }

type shopTx struct{}

func (*shopDB) Begin() *shopTx {
	fmt.Println("BEGIN")
	return &shopTx{}
}

func (*shopTx) Exec(statement string) {
	statement, _, _ = strings.Cut(statement, "_") // without the number of the savepoint
	fmt.Println(statement)
}
