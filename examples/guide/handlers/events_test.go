// Package handlers_test holds the examples of docs/handlers-and-errors.md.
package handlers_test

import (
	"github.com/tidings-go/tidings"
)

type OrderPlaced struct {
	tidings.DomainEvent
	OrderID int64
}

type OrderPaid struct {
	tidings.DomainEvent
	OrderID int64
}
