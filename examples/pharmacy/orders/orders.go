// Package orders is the module that manages orders and their items.
package orders

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
)

// Schema creates the tables of this module, unless they exist.
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

// Register returns the orders in db, and subscribes them to the approvals on bus.
func Register(bus *tidings.EventBus, db *sql.DB) *Orders {
	o := &Orders{db, bus}
	tidings.Subscribe(bus, o.approveItem, tidings.Named("orders.approveItem"))
	return o
}

// An Item is a product in an order.
type Item struct{ ID, Product string }

// Place stores an order.
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

// Ready reports whether all items of an order are approved. Inside a transaction
// it sees the uncommitted changes.
func (o *Orders) Ready(ctx context.Context, orderID string) (ready bool, err error) {
	err = tidings.InTx(ctx, o.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT ready FROM orders WHERE id = ?", orderID).Scan(&ready)
	})
	return ready, err
}

// approveItem stores the approval of an item. After the last one it publishes that
// the order is ready. It is idempotent.
func (o *Orders) approveItem(ctx context.Context, e events.PrescriptionRequestApproved) error {
	return tidings.InTx(ctx, o.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		found, err := changed(tx.ExecContext(ctx, "UPDATE order_items SET approved = TRUE WHERE id = ? AND order_id = ?", e.OrderItemID, e.OrderID))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("order %q has no item %q", e.OrderID, e.OrderItemID)
		}
		// Only one update finds the order not ready. So the event is published
		// once, however often approvals arrive.
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
		// Delivered after the commit of this transaction, not of the publisher's.
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
