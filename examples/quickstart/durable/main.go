// Command durable places an order, which a durable handler ships. The first
// attempt fails, so a worker retries it.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

type OrderPlaced struct {
	tidings.DomainEvent
	Item string
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// A transaction waits for its turn to write, instead of failing.
	db, err := sql.Open("sqlite", filepath.Join(dir, "shop.db")+
		"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	jobs, err := openJobs(ctx, db)
	if err != nil {
		return err
	}

	bus := tidings.New()
	shipped, attempts := make(chan struct{}, 1), 0
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		attempts++
		if attempts == 1 {
			fmt.Println("shipping: the carrier does not answer")
			return errors.New("the carrier does not answer")
		}
		fmt.Printf("shipping: %q, attempt %d\n", e.Item, attempts)
		shipped <- struct{}{}
		return nil
	}, tidings.Named("shipping.ship"), tidings.Via(jobs))

	if err := jobs.Start(ctx); err != nil {
		return err
	}

	// The handler's job is stored in the transaction.
	err = tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
		return tidings.Publish(ctx, bus, OrderPlaced{Item: "Middlemarch"})
	})
	if err != nil {
		return err
	}
	<-shipped
	return errors.Join(jobs.Close(ctx), bus.Close(ctx))
}

// openJobs returns durable handlers on River in a SQLite database.
func openJobs(ctx context.Context, db *sql.DB) (*durable.Jobs, error) {
	var registry tidings.Registry
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)

	config := durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: 50 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler), // leave it out to see River's log
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
	jobs, err := durable.New(client, config.Workers, tidings.SQL(db), &registry)
	if err != nil {
		return nil, err
	}
	return jobs, jobs.Migrate(ctx)
}
