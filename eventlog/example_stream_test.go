package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// Two writers have seen the same version of a stream. One of them is told
// that it has changed since.
func ExampleLog_AppendTo() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		log.Fatal(err)
	}

	const stream = "order/42"
	version, err := events.StreamVersion(ctx, stream)
	if err != nil {
		log.Fatal(err)
	}
	_, err = events.AppendTo(ctx, stream, version, OrderPlaced{Item: "Emma", Copies: 1}, OrderPlaced{Item: "Emma", Copies: 2})
	fmt.Println(err)
	_, err = events.AppendTo(ctx, stream, version, OrderPlaced{Item: "Persuasion", Copies: 1})
	fmt.Println(err)
	fmt.Println("conflict:", errors.Is(err, eventlog.ErrConflict))

	for recorded, err := range events.ReadStream(ctx, stream) {
		if err != nil {
			log.Fatal(err)
		}
		e := recorded.Event.(OrderPlaced)
		fmt.Println(recorded.StreamVersion, e.Copies, e.Item)
	}
	// Output:
	// <nil>
	// eventlog: appending to stream "order/42": the stream has changed: version 0 was expected, but it is at 2
	// conflict: true
	// 1 1 Emma
	// 2 2 Emma
}
