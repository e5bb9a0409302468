package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// A follower reads what there is, and then what comes. Its position is the
// cursor that the next one goes on from.
func ExampleLog_Follow() {
	db, cleanUp := openDatabase()
	defer cleanUp()
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	events.Attach(bus)
	place := func(item string) {
		if err := tidings.Publish(ctx, bus, OrderPlaced{Item: item, Copies: 1}); err != nil {
			log.Fatal(err)
		}
	}
	place("Emma")
	place("Middlemarch")

	var cursor eventlog.Position
	for recorded, err := range events.Follow(ctx, eventlog.Limit(1)) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("first:", recorded.Event.(OrderPlaced).Item)
		cursor = recorded.Position // to be stored, with what was made of the event
	}

	for recorded, err := range events.Follow(ctx, eventlog.After(cursor)) {
		switch {
		case errors.Is(err, context.Canceled):
			fmt.Println("stopped")
			continue // it is the last
		case err != nil:
			log.Fatal(err)
		}
		fmt.Println("then:", recorded.Event.(OrderPlaced).Item)
		switch recorded.Event.(OrderPlaced).Item {
		case "Middlemarch":
			place("Persuasion") // the follower waits for it
		case "Persuasion":
			stop()
		}
	}
	// Output:
	// first: Emma
	// then: Middlemarch
	// then: Persuasion
	// stopped
}
