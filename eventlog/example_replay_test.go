package eventlog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// openShop opens a log with three orders in it.
func openShop(ctx context.Context) (events *eventlog.Log, bus *tidings.EventBus, cleanUp func()) {
	db, cleanUp := openDatabase()
	registry := &tidings.Registry{}
	tidings.Register[OrderPlaced](registry, "orders.order_placed", 1)
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), registry)
	if err != nil {
		log.Fatal(err)
	}
	bus = tidings.New()
	events.Attach(bus)
	for copies, item := range []string{"Emma", "Middlemarch", "Emma"} {
		if err := tidings.Publish(ctx, bus, OrderPlaced{Item: item, Copies: copies + 1}); err != nil {
			log.Fatal(err)
		}
	}
	return events, bus, cleanUp
}

// A read model is computed from history.
func ExampleReplay() {
	ctx := context.Background()
	events, _, cleanUp := openShop(ctx)
	defer cleanUp()

	sold := map[string]int{}
	report, err := eventlog.Replay(ctx, events, func(ctx context.Context, e OrderPlaced) error {
		sold[e.Item] += e.Copies
		return nil
	}, eventlog.Progress(func(p eventlog.ReplayProgress) {
		fmt.Printf("%d of %d\n", p.Done, p.Total)
	}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Handled, "orders:", sold)
	// Output:
	// 1 of 3
	// 2 of 3
	// 3 of 3
	// 3 orders: map[Emma:4 Middlemarch:2]
}

// A handler that comes later than the events catches up, and is called for
// what is published from then on.
func ExampleLog_Backfill() {
	ctx := context.Background()
	events, bus, cleanUp := openShop(ctx)
	defer cleanUp()

	// The new release has a report.
	sold := map[string]int{}
	tidings.Subscribe(bus, func(ctx context.Context, e OrderPlaced) error {
		sold[e.Item] += e.Copies
		fmt.Println("replaying:", eventlog.Replaying(ctx), sold)
		return nil
	}, tidings.Named("reports.build"), events.CatchUp())

	// It goes on where it was if it is interrupted, and does nothing once
	// the handler has caught up, so the program calls it at every start.
	if _, err := events.Backfill(ctx, bus, "reports.build", eventlog.Resume("reports.build")); err != nil {
		log.Fatal(err)
	}
	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Persuasion", Copies: 1}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// replaying: true map[Emma:1]
	// replaying: true map[Emma:1 Middlemarch:2]
	// replaying: true map[Emma:4 Middlemarch:2]
	// replaying: false map[Emma:4 Middlemarch:2 Persuasion:1]
}
