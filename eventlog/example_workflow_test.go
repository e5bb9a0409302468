package eventlog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

type ParcelPacked struct {
	tidings.DomainEvent
	Item string `json:"item"`
}

type InvoiceSent struct{ tidings.DomainEvent }

// What one order led to. Tree.String prints it with IDs and times; programs
// that want something else walk through the nodes.
func ExampleLog_Workflow() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()

	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	tidings.Register[ParcelPacked](&registry, "warehouse.parcel_packed", 1)
	tidings.Register[InvoiceSent](&registry, "billing.invoice_sent", 1)
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	events.Attach(bus)
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPlaced) error {
		return tidings.Publish(ctx, bus, ParcelPacked{Item: e.Item})
	})
	tidings.Subscribe(bus, func(ctx context.Context, _ ParcelPacked) error {
		return tidings.Publish(ctx, bus, InvoiceSent{})
	})

	workflow := uuid.New()
	err = tidings.Publish(tidings.WithCorrelationID(ctx, workflow), bus, OrderPlaced{Item: "Middlemarch", Copies: 2})
	if err != nil {
		log.Fatal(err)
	}

	tree, err := events.Workflow(ctx, workflow)
	if err != nil {
		log.Fatal(err)
	}
	var show func(nodes []*eventlog.Node, indent string)
	show = func(nodes []*eventlog.Node, indent string) {
		for _, n := range nodes {
			fmt.Println(indent + n.Envelope.Type)
			show(n.Effects, indent+"  ")
		}
	}
	show(tree, "")
	// Output:
	// orders.order_placed
	//   warehouse.parcel_packed
	//     billing.invoice_sent
}
