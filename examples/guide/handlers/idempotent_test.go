package handlers_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/internal/memdb"
)

const invoices = `CREATE TABLE invoices (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL UNIQUE);`

type billing struct {
	bus *tidings.EventBus
	db  *sql.DB
}

type InvoiceIssued struct {
	tidings.DomainEvent
	InvoiceID int64
	OrderID   int64
}

// issue writes one invoice for an order and publishes InvoiceIssued once, however
// often it is called.
func (b *billing) issue(ctx context.Context, e OrderPlaced) error {
	return tidings.InTx(ctx, b.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, "INSERT INTO invoices (order_id) VALUES (?) ON CONFLICT DO NOTHING", e.OrderID)
		if err != nil {
			return err
		}
		added, err := result.RowsAffected()
		if err != nil || added == 0 {
			return err
		}
		id, err := result.LastInsertId()
		if err != nil {
			return err
		}
		return tidings.Publish(ctx, b.bus, InvoiceIssued{InvoiceID: id, OrderID: e.OrderID})
	})
}

func Example_idempotent() {
	db := memdb.Open(invoices)
	defer db.Close()
	bus := tidings.New()
	b := &billing{bus, db}
	tidings.Subscribe(bus, b.issue, tidings.Named("billing.issue"))
	tidings.Subscribe(bus, func(_ context.Context, e InvoiceIssued) error {
		fmt.Printf("invoice %d for order %d\n", e.InvoiceID, e.OrderID)
		return nil
	})

	ctx := context.Background()
	event := tidings.Stamp(ctx, OrderPlaced{OrderID: 7})
	fmt.Println(tidings.Publish(ctx, bus, event))
	fmt.Println(tidings.Publish(ctx, bus, event)) // the same event once more
	// Output:
	// invoice 1 for order 7
	// <nil>
	// <nil>
}
