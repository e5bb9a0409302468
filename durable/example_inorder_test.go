package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// Orders of one item ship in the order in which they were placed, also when
// the first one has to be tried again. Other items do not wait for that.
func ExampleInOrderBy() {
	ctx := context.Background()
	db, cleanUp := openShop()
	defer cleanUp()
	jobs, err := newSQLiteJobs(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()

	shipped := make(chan string, 10)
	var key atomic.Bool // of the shelf of Middlemarch; who ships Emma brings it
	ship := func(_ context.Context, e OrderPlaced) error {
		if e.Item == "Middlemarch" && e.Copies == 1 && !key.Load() {
			return errors.New("the shelf is locked")
		}
		shipped <- fmt.Sprint(e.Copies, " ", e.Item)
		key.Store(true)
		return nil
	}
	byItem := durable.InOrderBy(func(e OrderPlaced) string { return e.Item })
	slowly := tidings.Backoff(func(int) time.Duration { return 200 * time.Millisecond })
	tidings.Subscribe(bus, ship, tidings.Named("shipping.ship"), tidings.Via(jobs), byItem, slowly)

	for _, e := range []OrderPlaced{
		{Item: "Middlemarch", Copies: 1}, {Item: "Middlemarch", Copies: 2}, {Item: "Emma", Copies: 3},
	} {
		if err := tidings.Publish(ctx, bus, e); err != nil {
			log.Fatal(err)
		}
	}
	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	for range 3 {
		fmt.Println("shipped:", <-shipped)
	}
	if err := jobs.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// shipped: 3 Emma
	// shipped: 1 Middlemarch
	// shipped: 2 Middlemarch
}
