// Package shipping packs what was ordered. It is the module of the guide that
// moves into a process of its own, and that does not change on the way.
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

// Register subscribes the module's handlers. The options say how they run,
// which is for the program to decide.
func Register(bus *tidings.EventBus, db *sql.DB, how ...tidings.SubscribeOption) {
	m := &module{bus, db}
	tidings.Subscribe(bus, m.pack, tidings.Named("shipping.pack"), tidings.SubscribeOptions(how))
}

// pack takes the copies off the shelf and says so. If it takes effect twice,
// the shelf has too few.
func (m *module) pack(ctx context.Context, e events.OrderPlaced) error {
	return tidings.InTx(ctx, m.db, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE shelf SET copies = copies - ? WHERE item = ?", e.Copies, e.Item)
		if err != nil {
			return err
		}
		return tidings.Publish(ctx, m.bus, events.ParcelSent{OrderID: e.OrderID})
	})
}
