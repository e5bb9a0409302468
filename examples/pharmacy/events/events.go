// Package events holds the events of the pharmacy. The modules share no other
// package.
package events

import "github.com/tidings-go/tidings"

// PrescriptionRequestApproved is published when a provider approves a request and
// a prescription is written.
type PrescriptionRequestApproved struct {
	tidings.DomainEvent
	RequestID      int64
	PrescriptionID int64
	EncounterID    int64
	OrderID        string
	OrderItemID    string
}

// OrderReadyForFulfillment is published when the last item of an order is approved.
type OrderReadyForFulfillment struct {
	tidings.DomainEvent
	OrderID  string
	Products tidings.List[string]
}
