package events

import "github.com/tidings-go/tidings"

// Register registers the names and versions under which the events are stored. A
// name stays when its type is renamed. testdata has an example of each version.
func Register(r *tidings.Registry) {
	tidings.Register[PrescriptionRequestApproved](r, "ehr.prescription_request_approved", 1)
	tidings.Register[OrderReadyForFulfillment](r, "orders.order_ready_for_fulfillment", 1)
}
