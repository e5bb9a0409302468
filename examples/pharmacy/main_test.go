package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"go/parser"
	"go/token"
	"os"
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
	run(context.Background(), nil, os.Stdout, os.Stderr)
	// Output:
	// 1. The order is ready once both items are approved
	//    Dr. Osei approves amoxicillin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    Dr. Osei approves ibuprofen
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    the workers start
	//      events.OrderReadyForFulfillment -> fulfilment.pick
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//      the carrier has the parcel
	//    order O-17: ready true, tracking "O-17-2PCS"
	//
	// 2. An approval is rolled back, so no handler runs after it
	//    Dr. Osei approves amoxicillin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    Dr. Osei approves ibuprofen and amoxicillin
	//      rolled back: approving request 1: request is approved already
	//    the workers start
	//    order O-17: ready false, tracking ""
	//
	// 3. An approval that arrives twice counts once
	//    Dr. Osei approves amoxicillin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    the approval is delivered again
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    Dr. Osei approves ibuprofen
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    the workers start
	//      events.OrderReadyForFulfillment -> fulfilment.pick
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//      the carrier has the parcel
	//    order O-17: ready true, tracking "O-17-2PCS"
	//
	// 4. An unknown order is reported, and the approval stays committed
	//    Dr. Osei approves insulin
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      reported: tidings: orders.approveItem handling events.PrescriptionRequestApproved: order "O-18" has no item "I-3"
	//    the workers start
	//    order O-17: ready false, tracking ""
	//
	// 5. The carrier is down, the handler is retried, and the order ships
	//    Dr. Osei approves amoxicillin and ibuprofen
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    the workers start
	//      events.OrderReadyForFulfillment -> fulfilment.pick
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//      the carrier does not answer
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//      the carrier has the parcel
	//    order O-17: ready true, tracking "O-17-2PCS"
	//
	// 6. The process ends before the jobs run, and another one runs them
	//    Dr. Osei approves amoxicillin and ibuprofen
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//      events.PrescriptionRequestApproved -> orders.approveItem
	//    the process ends, and another one starts
	//    the workers start
	//      events.OrderReadyForFulfillment -> fulfilment.pick
	//      events.OrderReadyForFulfillment -> fulfilment.ship
	//      the carrier has the parcel
	//    order O-17: ready true, tracking "O-17-2PCS"
}

// TestChain tests the same handlers without jobs, on the bus of the test.
func TestChain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		down     int32
		tracking string
	}{
		{"carrier up", 0, "O-1-2PCS"},
		{"carrier down", 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("sqlite", ":memory:")
			require.NoError(t, err)
			db.SetMaxOpenConns(1)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			_, err = db.Exec(ehr.Schema + orders.Schema + fulfilment.Schema + carrierSchema)
			require.NoError(t, err)

			var reported []error
			bus := tidingstest.NewBus(t, tidings.WithErrorHandler(func(_ context.Context, err error) { reported = append(reported, err) }))
			rec := tidingstest.Record(bus)
			carrier := &carrier{db: db, heard: t.Logf}
			carrier.down.Store(c.down)
			records, placed := ehr.New(bus, db), orders.Register(bus, db)
			shipped := fulfilment.Register(bus, db, carrier, tidings.AfterCommit, tidings.AfterCommit)

			require.NoError(t, placed.Place(t.Context(), "O-1", orders.Item{ID: "I-1", Product: "insulin"}, orders.Item{ID: "I-2", Product: "needles"}))
			first, err1 := records.Request(t.Context(), ehr.Request{Product: "insulin", OrderID: "O-1", OrderItemID: "I-1"})
			second, err2 := records.Request(t.Context(), ehr.Request{Product: "needles", OrderID: "O-1", OrderItemID: "I-2"})
			require.NoError(t, errors.Join(err1, err2))
			require.NoError(t, records.Approve(t.Context(), "Dr. Osei", first, second), "whatever the carrier does")

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
			if c.down == 0 {
				require.Empty(t, reported)
				return
			}
			require.Len(t, reported, 1)
			require.ErrorContains(t, reported[0], "the carrier does not answer")
		})
	}
}

func TestRun_LeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), nil, &stdout, &stderr), stderr.String())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestRun_Flags(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pharmacy.db")
	for _, c := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"-x"}, 2, "-x"},
		{[]string{"x"}, 2, `unexpected argument "x"`},
		{[]string{"-work"}, 2, "need a -db"},
		{[]string{"-publish", "2"}, 2, "need a -db"},
		{[]string{"-ui", "127.0.0.1:0"}, 2, "need a -db"},
		{[]string{"-db", file, "-publish", "-1"}, 2, "-publish -1"},
		{[]string{"-db", t.TempDir()}, 1, "unable to open database file"},
		{[]string{"-db", file, "-ui", ":8080"}, 1, "an address of this machine"},
		{[]string{"-db", file, "-ui", "0.0.0.0:8080"}, 1, "an address of this machine"},
		{[]string{"-db", file, "-ui", "[::]:8080"}, 1, "an address of this machine"},
		{[]string{"-db", file, "-ui", "192.0.2.1:8080"}, 1, "an address of this machine"},
		{[]string{"-db", file, "-ui", "8080"}, 1, "missing port"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(t.Context(), c.args, &stdout, &stderr), c.args)
		require.Contains(t, stderr.String(), c.err)
		require.Empty(t, stdout.String())
	}
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-h"}, &stdout, &stderr))
	require.Contains(t, stdout.String(), "-db file")
}

// TestBoundaries: of this program, the modules import only the events.
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
