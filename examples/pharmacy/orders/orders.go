// Package orders is the module of the orders and their items.
package orders

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
)

// Schema creates the tables of this module, unless they are there.
const Schema = `
	CREATE TABLE IF NOT EXISTS orders (
		id    TEXT PRIMARY KEY,
		ready BOOLEAN NOT NULL DEFAULT FALSE
	);
	CREATE TABLE IF NOT EXISTS order_items (
		id       TEXT PRIMARY KEY,
		order_id TEXT NOT NULL REFERENCES orders (id),
		product  TEXT NOT NULL,
		approved BOOLEAN NOT NULL DEFAULT FALSE
	);`

// Orders are the orders of all patients.
type Orders struct {
	db  *sql.DB
	bus *tidings.EventBus
}

// Register returns the orders in db, which follow the approvals on bus.
func Register(bus *tidings.EventBus, db *sql.DB) *Orders {
	o := &Orders{db, bus}
	tidings.Subscribe(bus, o.approveItem, tidings.Named("orders.approveItem"))
	return o
}

// An Item is a product in an order.
type Item struct{ ID, Product string }

// Place takes an order.
func (o *Orders) Place(ctx context.Context, orderID string, items ...Item) error {
	return tidings.InTx(ctx, o.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES (?)", orderID); err != nil {
			return fmt.Errorf("placing order %q: %w", orderID, err)
		}
		for _, item := range items {
			_, err := tx.ExecContext(ctx, "INSERT INTO order_items (id, order_id, product) VALUES (?, ?, ?)", item.ID, orderID, item.Product)
			if err != nil {
				return fmt.Errorf("placing order %q: item %q: %w", orderID, item.ID, err)
			}
		}
		return nil
	})
}

// Ready reports whether all items of an order are approved. Inside of a
// transaction it sees what that has done so far.
func (o *Orders) Ready(ctx context.Context, orderID string) (ready bool, err error) {
	err = tidings.InTx(ctx, o.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT ready FROM orders WHERE id = ?", orderID).Scan(&ready)
	})
	return ready, err
}

// approveItem notes the approval of an item and, with the last one, that the
// order is ready. The same approval may arrive again.
func (o *Orders) approveItem(ctx context.Context, e events.PrescriptionRequestApproved) error {
	return tidings.InTx(ctx, o.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		found, err := changed(tx.ExecContext(ctx, "UPDATE order_items SET approved = TRUE WHERE id = ? AND order_id = ?", e.OrderItemID, e.OrderID))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("order %q has no item %q", e.OrderID, e.OrderItemID)
		}
		// One update alone finds the order not yet ready: whoever makes it
		// publishes the event, however often approvals arrive.
		ready, err := changed(tx.ExecContext(ctx, `
			UPDATE orders SET ready = TRUE WHERE id = ? AND NOT ready
			AND NOT EXISTS (SELECT * FROM order_items WHERE order_id = orders.id AND NOT approved)`, e.OrderID))
		if err != nil || !ready {
			return err
		}
		products, err := productsOf(ctx, tx, e.OrderID)
		if err != nil {
			return err
		}
		// Delivered at the commit of this transaction, not of the publisher's.
		return tidings.Publish(ctx, o.bus, events.OrderReadyForFulfillment{
			OrderID: e.OrderID, Products: tidings.ListOf(products...),
		})
	})
}

// changed reports whether a statement changed a row.
func changed(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

func productsOf(ctx context.Context, tx *sql.Tx, orderID string) (products []string, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT product FROM order_items WHERE order_id = ? ORDER BY id", orderID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var product string
		if err := rows.Scan(&product); err != nil {
			return nil, err
		}
		products = append(products, product)
	}
	return products, rows.Err()
}
