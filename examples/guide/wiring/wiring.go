// Package wiring is a program with all parts of tidings: a bus, an event log, durable
// handlers and a broker.
package wiring

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/guide/scaling/events"
	"github.com/tidings-go/tidings/examples/guide/scaling/orders"
	"github.com/tidings-go/tidings/examples/guide/scaling/shipping"
	"github.com/tidings-go/tidings/relay"
)

// run wires the program up, serves until ctx ends, and shuts down. The caller opens the
// database before and closes it after.
func run(ctx context.Context, db *sql.DB, broker string, serve func(context.Context, *orders.Orders) error) (err error) {
	// 1. The names of the events that are stored or sent.
	var registry tidings.Registry
	events.Register(&registry)

	// 2. The parts, each with its tables.
	bus := tidings.New()
	log, err := eventlog.Open(ctx, eventlog.SQLite(db), &registry)
	if err != nil {
		return err
	}
	jobs, err := openJobs(ctx, db, &registry)
	if err != nil {
		return err
	}
	r, err := relay.Open(ctx, broker, &registry)
	if err != nil {
		return err
	}
	services := tidings.Services{bus, r, jobs}
	defer func() { // 5. Shutdown, in reverse order, also if a step below fails.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err = errors.Join(err, services.Close(grace))
	}()

	// 3. The handlers: the log, the modules, and the events that leave the program.
	log.Attach(bus)
	shipping.Register(bus, db, tidings.Via(jobs))
	shop := orders.Register(bus, db, tidings.Via(jobs))
	relay.Forward[events.ParcelSent](bus, r, tidings.Via(jobs), durable.Outside())

	// 4. Start, once all handlers are subscribed, and serve.
	if err := services.Start(ctx); err != nil {
		return err
	}
	return serve(ctx, shop)
}

// openJobs returns the jobs of the durable handlers, on River.
func openJobs(ctx context.Context, db *sql.DB, registry *tidings.Registry) (*durable.Jobs, error) {
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	config := durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		FetchPollInterval: 100 * time.Millisecond,
	})
	client, err := river.NewClient(driver, config)
	if err != nil {
		return nil, err
	}
	jobs, err := durable.New(client, config.Workers, tidings.SQL(db), registry)
	if err != nil {
		return nil, err
	}
	return jobs, jobs.Migrate(ctx)
}
