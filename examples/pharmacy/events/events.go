// Package events holds what the modules of the pharmacy tell each other. It
// is all that they know of each other.
package events

import "github.com/tidings-go/tidings"

// PrescriptionRequestApproved says that a provider has approved a request
// and that there is a prescription now.
type PrescriptionRequestApproved struct {
	tidings.DomainEvent
	RequestID      int64
	PrescriptionID int64
	EncounterID    int64
	OrderID        string
	OrderItemID    string
}

// OrderReadyForFulfillment says that the last item of an order is approved.
type OrderReadyForFulfillment struct {
	tidings.DomainEvent
	OrderID  string
	Products tidings.List[string]
}
