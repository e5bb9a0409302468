package durable_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// OrderPlaced is the event of the examples.
type OrderPlaced struct {
	tidings.DomainEvent
	Item   string
	Copies int
}

// newSQLiteJobs wires durable handlers up over a SQLite database.
func newSQLiteJobs(ctx context.Context, db *sql.DB, opts ...durable.Option) (*durable.Jobs, error) {
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	durable.Register(&registry)

	config := durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		FetchCooldown:     5 * time.Millisecond, // how soon a new job is looked for
		FetchPollInterval: 50 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler), // River logs to standard output by default
	})
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: config.Logger})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	client, err := river.NewClient(driver, config)
	if err != nil {
		return nil, err
	}
	jobs, err := durable.New(client, config.Workers, tidings.SQL(db), &registry, opts...)
	if err != nil {
		return nil, err
	}
	return jobs, jobs.Migrate(ctx)
}

// The handler runs after the commit, as a job that was stored with it. What it
// writes commits together with the completion of the job.
func Example() {
	ctx := context.Background()
	db, cleanUp := openShop()
	defer cleanUp()
	jobs, err := newSQLiteJobs(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()

	ship := func(ctx context.Context, e OrderPlaced) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE stock SET copies = copies - ? WHERE item = ?", e.Copies, e.Item)
			return err
		})
	}
	tidings.Subscribe(bus, ship, tidings.Named("shipping.ship"), tidings.Via(jobs))

	place := func(item string, copies int) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			if err := tidings.Publish(ctx, bus, OrderPlaced{Item: item, Copies: copies}); err != nil {
				return err
			}
			if copies > 10 {
				return errors.New("not enough on the shelf")
			}
			return nil
		})
	}
	fmt.Println("20 copies:", place("Middlemarch", 20))
	fmt.Println(" 2 copies:", place("Middlemarch", 2))
	fmt.Println("in stock:", inStock(db), "and nobody works yet")

	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	waitUntilDone(ctx, jobs)
	if err := jobs.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("in stock:", inStock(db))
	// Output:
	// 20 copies: not enough on the shelf
	//  2 copies: <nil>
	// in stock: 100 and nobody works yet
	// in stock: 98
}
