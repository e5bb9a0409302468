// Package shipping is the module that packs orders. In the guide it moves to a
// separate process, and its code does not change.
package shipping

import (
	"context"
	"database/sql"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/guide/scaling/events"
)

// Schema has the module's table.
const Schema = `CREATE TABLE shelf (item TEXT PRIMARY KEY, copies INTEGER NOT NULL);`

type module struct {
	bus *tidings.EventBus
	db  *sql.DB
}

// Register subscribes the module's handlers. The program decides by the options
// how they run.
func Register(bus *tidings.EventBus, db *sql.DB, how ...tidings.SubscribeOption) {
	m := &module{bus, db}
	tidings.Subscribe(bus, m.pack, tidings.Named("shipping.pack"), tidings.SubscribeOptions(how))
}

// pack reduces the stock and publishes ParcelSent. It is not idempotent: if it
// takes effect twice, the stock is wrong.
func (m *module) pack(ctx context.Context, e events.OrderPlaced) error {
	return tidings.InTx(ctx, m.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE shelf SET copies = copies - ? WHERE item = ?", e.Copies, e.Item)
		if err != nil {
			return err
		}
		return tidings.Publish(ctx, m.bus, events.ParcelSent{OrderID: e.OrderID})
	})
}
