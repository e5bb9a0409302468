package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// openAudited opens the log at the start of a program. It returns an error if the
// program cannot decode all stored events.
func openAudited(ctx context.Context, db eventlog.Database, registry *tidings.Registry) (*eventlog.Log, error) {
	events, err := eventlog.Open(ctx, db, registry)
	if err != nil {
		return nil, err
	}
	undecodable, err := events.Audit(ctx)
	for _, u := range undecodable {
		err = errors.Join(err, errors.New(u.String()))
	}
	return events, err
}

func ExampleLog_Audit() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()

	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	events, err := openAudited(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	events.Attach(bus)
	for _, item := range []string{"Middlemarch", "Emma"} {
		if err := tidings.Publish(ctx, bus, OrderPlaced{Item: item, Copies: 1}); err != nil {
			log.Fatal(err)
		}
	}

	// In the next release somebody raises the version and forgets the Upcast.
	var next tidings.Registry
	tidings.Register[OrderPlaced](&next, "orders.order_placed", 2)
	_, err = openAudited(ctx, eventlog.SQLite(db), &next)
	fmt.Println(err)
	// Output:
	// 2 × "orders.order_placed" version 1: tidings: version 1 of "orders.order_placed" is not registered: there is no Upcast from version 1, on the way to 2
}
