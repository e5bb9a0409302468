// Package events holds the events of a shop. Both programs of the guide import
// it.
package events

import "github.com/tidings-go/tidings"

// OrderPlaced is published when a customer places an order.
type OrderPlaced struct {
	tidings.DomainEvent
	OrderID int64  `json:"order_id"`
	Item    string `json:"item"`
	Copies  int    `json:"copies"`
}

// ParcelSent is published when the parcel of an order is sent.
type ParcelSent struct {
	tidings.DomainEvent
	OrderID int64 `json:"order_id"`
}

// Register registers the names under which the events are stored and sent.
func Register(r *tidings.Registry) {
	tidings.Register[OrderPlaced](r, "orders.order_placed", 1)
	tidings.Register[ParcelSent](r, "shipping.parcel_sent", 1)
}
