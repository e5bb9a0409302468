package events_test

import (
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/internal/golden"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
)

func TestEvents_Shape(t *testing.T) {
	t.Parallel()
	var registry tidings.Registry
	events.Register(&registry)
	golden.Check(t, &registry,
		events.PrescriptionRequestApproved{RequestID: 1, PrescriptionID: 2, EncounterID: 3, OrderID: "O-4", OrderItemID: "O-4/1"},
		events.OrderReadyForFulfillment{OrderID: "O-4", Products: tidings.ListOf("ibuprofen", "zinc")},
	)
}
