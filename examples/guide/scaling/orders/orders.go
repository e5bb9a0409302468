// Package orders is the module that accepts the orders of a shop.
package orders

import (
	"context"
	"database/sql"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/scaling/events"
)

// Schema has the module's table.
const Schema = `CREATE TABLE orders (id INTEGER PRIMARY KEY, sent BOOLEAN NOT NULL DEFAULT FALSE);`

// Orders is the API of the module.
type Orders struct {
	bus *tidings.EventBus
	db  *sql.DB
}

// Register subscribes the module's handlers, with options of the program.
func Register(bus *tidings.EventBus, db *sql.DB, how ...tidings.SubscribeOption) *Orders {
	o := &Orders{bus, db}
	tidings.Subscribe(bus, o.markSent, tidings.Named("orders.mark_sent"), tidings.SubscribeOptions(how))
	return o
}

// Place stores an order and publishes OrderPlaced.
func (o *Orders) Place(ctx context.Context, id int64, item string, copies int) error {
	return tidings.InTx(ctx, o.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES (?)", id); err != nil {
			return err
		}
		return tidings.Publish(ctx, o.bus, events.OrderPlaced{OrderID: id, Item: item, Copies: copies})
	})
}

// markSent is idempotent: a second call changes nothing.
func (o *Orders) markSent(ctx context.Context, e events.ParcelSent) error {
	return tidings.InTx(ctx, o.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE orders SET sent = TRUE WHERE id = ?", e.OrderID)
		return err
	})
}
