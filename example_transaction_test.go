package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

// Events published in a transaction are delivered once it has committed, and dropped
// if it rolls back.
func ExampleInTx() {
	type OrderPlaced struct {
		tidings.DomainEvent
		OrderID int
	}
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("mail: thank you for order", e.OrderID)
		return nil
	})

	db := openShop() // a *sql.DB
	place := func(ctx context.Context, id int, charge func() error) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES (?)", id); err != nil {
				return err
			}
			if err := tidings.Publish(ctx, bus, OrderPlaced{OrderID: id}); err != nil {
				return err
			}
			return charge()
		})
	}

	ctx := context.Background()
	fmt.Println("first order:", place(ctx, 1, func() error { return nil }))
	fmt.Println("second order:", place(ctx, 2, func() error { return errors.New("card declined") }))
	// Output:
	// mail: thank you for order 1
	// first order: <nil>
	// second order: card declined
}

// An inner InTx is a savepoint. If it fails, only the events published inside it are
// dropped.
func ExampleInTx_nested() {
	type ItemShipped struct {
		tidings.DomainEvent
		Item string
	}
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e ItemShipped) error {
		fmt.Println("shipped:", e.Item)
		return nil
	})

	db := openShop()
	ship := func(ctx context.Context, item string) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			if err := tidings.Publish(ctx, bus, ItemShipped{Item: item}); err != nil {
				return err
			}
			if item == "piano" {
				return errors.New("too heavy")
			}
			return nil
		})
	}
	err := tidings.InTx(context.Background(), db, nil, func(ctx context.Context, _ *sql.Tx) error {
		for _, item := range []string{"stool", "piano", "score"} {
			if err := ship(ctx, item); err != nil {
				fmt.Printf("%s stays here: %v\n", item, err)
			}
		}
		return nil
	})
	fmt.Println("order:", err)
	// Output:
	// piano stays here: too heavy
	// shipped: stool
	// shipped: score
	// order: <nil>
}

// OnCommit delays a function until the commit, for work that is not an event.
func ExampleOnCommit() {
	db, bus := openShop(), tidings.New()
	cache := map[string]string{"price": "10.00"}

	err := tidings.InTx(context.Background(), db, nil, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE prices SET price = '12.00'"); err != nil {
			return err
		}
		if err := tidings.OnCommit(ctx, bus, func(context.Context) error { delete(cache, "price"); return nil }); err != nil {
			return err
		}
		fmt.Println("before the commit:", cache)
		return nil
	})
	fmt.Println("after it:", cache, err)
	// Output:
	// before the commit: map[price:10.00]
	// after it: map[] <nil>
}

// Code that begins and commits a transaction itself opens a scope around it.
func ExampleNewTxHook() {
	type OrderPlaced struct {
		tidings.DomainEvent
		OrderID int
	}
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Println("mail: thank you for order", e.OrderID)
		return nil
	})

	db := openShop()
	place := func(ctx context.Context, id int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		ctx, hook := tidings.NewTxHook(ctx, db)
		defer hook.Rollback(ctx) // does nothing after hook.Commit
		defer tx.Rollback()      // runs before hook.Rollback: the database rolls back first
		ctx = tidings.WithTx(ctx, db, tx)

		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES (?)", id); err != nil {
			return err
		}
		if err := tidings.Publish(ctx, bus, OrderPlaced{OrderID: id}); err != nil {
			return err
		}
		if err := hook.Prepare(ctx); err != nil { // BeforeCommit handlers
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		fmt.Println("committed")
		return hook.Commit(ctx) // AfterCommit handlers
	}
	fmt.Println(place(context.Background(), 1))
	// Output:
	// committed
	// mail: thank you for order 1
	// <nil>
}

// A handler that writes to the same database does so in the publisher's transaction.
func ExampleTxFrom() {
	type OrderPlaced struct {
		tidings.DomainEvent
		OrderID int
	}
	db := openShop()
	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPlaced) error {
		tx, ok := tidings.TxFrom[*sql.Tx](ctx, db)
		if !ok {
			return errors.New("orders are placed in a transaction")
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO audit (order_id) VALUES (?)", e.OrderID)
		return err
	}, tidings.Named("audit"), tidings.InTransaction)

	ctx := context.Background()
	fmt.Println(tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
		return tidings.Publish(ctx, bus, OrderPlaced{OrderID: 1})
	}))
	fmt.Println(tidings.Publish(ctx, bus, OrderPlaced{OrderID: 2}))
	// Output:
	// <nil>
	// tidings: audit handling tidings_test.OrderPlaced: orders are placed in a transaction
}

// openShop returns the database of the examples. No test closes it at its end.
func openShop() *sql.DB {
	db, _ := fakedb.Open(exampleTB{})
	return db
}

// exampleTB has the methods of a test that fakedb.Open calls.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper()        {}
func (exampleTB) Cleanup(func()) {}
