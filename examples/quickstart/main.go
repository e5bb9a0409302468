// Command quickstart publishes an event in two transactions: the first rolls
// back, so nobody hears of it; the second commits.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"

	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
)

type OrderPlaced struct {
	tidings.DomainEvent
	Item   string
	Copies int
}

func main() {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1) // each connection to :memory: would be another database
	if _, err := db.Exec("CREATE TABLE orders (item TEXT, copies INTEGER)"); err != nil {
		log.Fatal(err)
	}

	bus := tidings.New()
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPlaced) error {
		var orders int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM orders").Scan(&orders)
		fmt.Printf("shipping: %d of %q, order %d\n", e.Copies, e.Item, orders)
		return err
	})

	place := func(ctx context.Context, item string, copies int) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES (?, ?)", item, copies); err != nil {
				return err
			}
			if err := tidings.Publish(ctx, bus, OrderPlaced{Item: item, Copies: copies}); err != nil {
				return err
			}
			if copies > 10 { // found out late, as such things are
				return errors.New("not enough on the shelf")
			}
			return nil
		})
	}
	fmt.Println("20 copies:", place(context.Background(), "Middlemarch", 20))
	fmt.Println(" 2 copies:", place(context.Background(), "Middlemarch", 2))
}
