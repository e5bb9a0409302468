package events

import "github.com/tidings-go/tidings"

// Register gives the events the names and versions under which they can be
// stored. The names stay when a type is renamed. testdata has what each
// version looks like.
func Register(r *tidings.Registry) {
	tidings.Register[PrescriptionRequestApproved](r, "ehr.prescription_request_approved", 1)
	tidings.Register[OrderReadyForFulfillment](r, "orders.order_ready_for_fulfillment", 1)
}
