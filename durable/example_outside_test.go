package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// Payments is another company's system. Like most of them it takes a key, and
// answers a second request that has the same one with the first result.
type Payments struct {
	charged map[string]int
	lost    int // how many answers get lost
}

func (p *Payments) Charge(_ context.Context, idempotencyKey string, amount int) error {
	if _, again := p.charged[idempotencyKey]; !again {
		p.charged[idempotencyKey] = amount
		fmt.Println("charged", amount)
	}
	if p.lost > 0 {
		p.lost--
		return errors.New("the connection broke before the answer")
	}
	return nil
}

type billing struct{ payments *Payments }

// charge runs at least once. The event's ID is the same each time.
func (b *billing) charge(ctx context.Context, e OrderPlaced) error {
	return b.payments.Charge(ctx, e.EventID().String(), 12*e.Copies)
}

// A handler that calls another system holds no transaction meanwhile, and
// hands on a key by which that system knows the request.
func ExampleOutside() {
	ctx := context.Background()
	db, cleanUp := openShop()
	defer cleanUp()
	jobs, err := newSQLiteJobs(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	b := &billing{&Payments{charged: map[string]int{}, lost: 1}}
	soon := tidings.Backoff(func(int) time.Duration { return 10 * time.Millisecond })
	tidings.Subscribe(bus, b.charge, tidings.Named("billing.charge"),
		tidings.Via(jobs), durable.Outside(), tidings.Timeout(10*time.Second), soon)

	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Middlemarch", Copies: 2}); err != nil {
		log.Fatal(err)
	}
	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	waitUntilDone(ctx, jobs)
	if err := jobs.Close(ctx); err != nil {
		log.Fatal(err)
	}
	counts, err := jobs.Counts(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("done:", counts["billing.charge"].Done)
	// Output:
	// charged 24
	// done: 1
}
