package main

import (
	"context"
	"database/sql"
	"errors"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/pharmacy/ehr"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/examples/pharmacy/fulfilment"
	"github.com/tidings-go/tidings/examples/pharmacy/orders"
	"github.com/tidings-go/tidings/tidingstest"
)

func Example() {
	main()
	// Output:
	// 1. The order is ready once both items are approved
	//    Dr. Osei approves amoxicillin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    Dr. Osei approves ibuprofen
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//    order O-17: ready true, tracking "O-17-2PCS"
	//
	// 2. An approval that is rolled back reaches nobody
	//    Dr. Osei approves amoxicillin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    Dr. Osei approves ibuprofen and amoxicillin
	//      rolled back: approving request 1: request is approved already
	//    order O-17: ready false, tracking ""
	//
	// 3. An approval that arrives twice counts once
	//    Dr. Osei approves amoxicillin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    the approval arrives again
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    Dr. Osei approves ibuprofen
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//    order O-17: ready true, tracking "O-17-2PCS"
	//
	// 4. An order that nobody knows is reported, and the approval stands
	//    Dr. Osei approves insulin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      reported: tidings: orders.approveItem handling events.PrescriptionRequestApproved: order "O-18" has no item "I-3"
	//    order O-17: ready false, tracking ""
	//
	// 5. A carrier that is down is reported, and the approvals stand
	//    Dr. Osei approves amoxicillin and ibuprofen
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//      reported: tidings: fulfilment.ship handling events.OrderReadyForFulfillment: shipping order "O-17": the carrier does not answer
	//    order O-17: ready true, tracking ""
}

// TestChain wires the modules up as open does, on the bus of the test.
func TestChain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		down     bool
		tracking string
	}{
		{"carrier up", false, "O-1-2PCS"},
		{"carrier down", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("sqlite", ":memory:")
			require.NoError(t, err)
			db.SetMaxOpenConns(1)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			_, err = db.Exec(ehr.Schema + orders.Schema + fulfilment.Schema)
			require.NoError(t, err)

			var reported []error
			bus := tidingstest.NewBus(t, tidings.WithErrorHandler(func(_ context.Context, err error) { reported = append(reported, err) }))
			rec := tidingstest.Record(bus)
			records, placed := ehr.New(bus, db), orders.Register(bus, db)
			shipped := fulfilment.Register(bus, db, &carrier{down: c.down})

			require.NoError(t, placed.Place(t.Context(), "O-1", orders.Item{ID: "I-1", Product: "insulin"}, orders.Item{ID: "I-2", Product: "needles"}))
			first, err1 := records.Request(t.Context(), ehr.Request{Product: "insulin", OrderID: "O-1", OrderItemID: "I-1"})
			second, err2 := records.Request(t.Context(), ehr.Request{Product: "needles", OrderID: "O-1", OrderItemID: "I-2"})
			require.NoError(t, errors.Join(err1, err2))
			require.NoError(t, records.Approve(t.Context(), "Dr. Osei", first, second), "whatever the carrier does")
			tidingstest.Drain(t, bus)

			tidingstest.RequireSequence(t, rec.Delivered(),
				tidingstest.Of(func(e events.PrescriptionRequestApproved) bool { return e.RequestID == first }),
				tidingstest.Of(func(e events.PrescriptionRequestApproved) bool { return e.RequestID == second }),
				tidingstest.Of[events.OrderReadyForFulfillment]())
			ready, err := placed.Ready(t.Context(), "O-1")
			require.NoError(t, err)
			require.True(t, ready)
			tracking, err := shipped.Tracking(t.Context(), "O-1")
			require.NoError(t, err)
			require.Equal(t, c.tracking, tracking)
			if !c.down {
				require.Empty(t, reported)
				return
			}
			require.Len(t, reported, 1)
			require.ErrorContains(t, reported[0], "the carrier does not answer")
		})
	}
}

// TestBoundaries: of this program the modules import the events alone.
func TestBoundaries(t *testing.T) {
	t.Parallel()
	const root = "github.com/tidings-go/tidings/examples/pharmacy/"
	files, err := filepath.Glob("*/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			module, inside := strings.CutPrefix(path, root)
			require.False(t, inside && module != "events", "%s imports %s: modules know each other by events", file, path)
		}
	}
}
