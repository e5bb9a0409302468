// Package events has what the modules of a shop tell each other. Both programs
// of the guide import it.
package events

import "github.com/tidings-go/tidings"

// OrderPlaced says that somebody has bought something.
type OrderPlaced struct {
	tidings.DomainEvent
	OrderID int64  `json:"order_id"`
	Item    string `json:"item"`
	Copies  int    `json:"copies"`
}

// ParcelSent says that an order is on its way.
type ParcelSent struct {
	tidings.DomainEvent
	OrderID int64 `json:"order_id"`
}

// Register gives the events the names under which they are stored and sent.
func Register(r *tidings.Registry) {
	tidings.Register[OrderPlaced](r, "orders.order_placed", 1)
	tidings.Register[ParcelSent](r, "shipping.parcel_sent", 1)
}
