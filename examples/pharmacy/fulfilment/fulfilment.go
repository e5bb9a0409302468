// Package fulfilment is the module that picks and ships ready orders.
package fulfilment

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
)

// Schema creates the tables of this module, unless they exist.
const Schema = `
	CREATE TABLE IF NOT EXISTS shipments (
		order_id TEXT PRIMARY KEY,
		tracking TEXT NOT NULL
	);
	CREATE TABLE IF NOT EXISTS picked (
		product TEXT PRIMARY KEY,
		boxes   INTEGER NOT NULL
	);`

// A Carrier ships parcels. A second call for the same order returns the tracking
// number of the first.
type Carrier interface {
	Ship(ctx context.Context, orderID string, products []string) (tracking string, err error)
}

// Fulfilment is the API of the module.
type Fulfilment struct {
	db      *sql.DB
	carrier Carrier
}

// Register subscribes the fulfilment in db to the ready orders on bus. A carrier is
// slow and may be down, so the handlers should not run in the publisher's
// goroutine. The options pick and ship say how they run.
func Register(bus *tidings.EventBus, db *sql.DB, carrier Carrier, pick, ship tidings.SubscribeOption) *Fulfilment {
	f := &Fulfilment{db, carrier}
	tidings.Subscribe(bus, f.pick, tidings.Named("fulfilment.pick"), pick)
	tidings.Subscribe(bus, f.ship, tidings.Named("fulfilment.ship"), ship)
	return f
}

// pick reduces the stock and counts boxes. It is not idempotent.
func (f *Fulfilment) pick(ctx context.Context, e events.OrderReadyForFulfillment) error {
	return tidings.InTx(ctx, f.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		for _, product := range e.Products.All() {
			_, err := tx.ExecContext(ctx, `
				INSERT INTO picked VALUES (?, 1)
				ON CONFLICT (product) DO UPDATE SET boxes = boxes + 1`, product)
			if err != nil {
				return fmt.Errorf("picking %q: %w", product, err)
			}
		}
		return nil
	})
}

// ship ships an order, unless it is shipped. If the process dies between the call
// and the commit, the carrier is called again for the same order.
func (f *Fulfilment) ship(ctx context.Context, e events.OrderReadyForFulfillment) error {
	if tracking, err := f.Tracking(ctx, e.OrderID); err != nil || tracking != "" {
		return err
	}
	products := make([]string, 0, e.Products.Len())
	for _, product := range e.Products.All() {
		products = append(products, product)
	}
	// Outside a transaction, so that no connection is held meanwhile.
	tracking, err := f.carrier.Ship(ctx, e.OrderID, products)
	if err != nil {
		return fmt.Errorf("shipping order %q: %w", e.OrderID, err)
	}
	return tidings.InTx(ctx, f.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO shipments VALUES (?, ?) ON CONFLICT DO NOTHING", e.OrderID, tracking)
		return err
	})
}

// Tracking returns the tracking number of an order, "" before it is shipped.
func (f *Fulfilment) Tracking(ctx context.Context, orderID string) (tracking string, err error) {
	err = tidings.InTx(ctx, f.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT tracking FROM shipments WHERE order_id = ?", orderID).Scan(&tracking)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return tracking, err
}
