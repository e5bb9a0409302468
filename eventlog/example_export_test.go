package eventlog_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// archive moves the events that occurred before t to a file. It deletes them after
// store has saved the file.
func archive(ctx context.Context, events *eventlog.Log, t time.Time, store func(file []byte) error) error {
	var file bytes.Buffer
	w := gzip.NewWriter(&file)
	if _, err := events.Export(ctx, w, eventlog.Before(t)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := store(file.Bytes()); err != nil {
		return err
	}
	_, err := events.DeleteBefore(ctx, t, eventlog.IncludeStreams())
	return err
}

// Old events are exported and deleted; later they are needed once more.
func ExampleLog_Export() {
	ctx := context.Background()
	db, cleanUp := openDatabase()
	defer cleanUp()
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	events, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
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
	show := func(when string) {
		fmt.Print(when)
		for recorded, err := range events.Read(ctx) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Print(" ", recorded.Event.(OrderPlaced).Item)
		}
		fmt.Println()
	}

	show("before:")
	var stored []byte
	err = archive(ctx, events, time.Now(), func(file []byte) error {
		stored = file
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	show("archived:")

	r, err := gzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		log.Fatal(err)
	}
	report, err := events.Import(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d imported, %d skipped\n", report.Imported, report.Skipped)
	show("after:")
	// Output:
	// before: Middlemarch Emma
	// archived:
	// 2 imported, 0 skipped
	// after: Middlemarch Emma
}
