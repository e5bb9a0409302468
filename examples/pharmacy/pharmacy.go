package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/examples/pharmacy/ehr"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/examples/pharmacy/fulfilment"
	"github.com/tidings-go/tidings/examples/pharmacy/orders"
)

// A pharmacy has the modules, with one database and one bus.
type pharmacy struct {
	db         *sql.DB
	bus        *tidings.EventBus
	client     *river.Client[*sql.Tx]
	jobs       *durable.Jobs
	records    *ehr.Records
	orders     *orders.Orders
	fulfilment *fulfilment.Fulfilment
	carrier    *carrier
}

// open opens the pharmacy in a file, which other processes may use too.
func open(ctx context.Context, file string, workers int, opts ...tidings.Option) (*pharmacy, error) {
	db, err := openDatabase(ctx, file)
	if err != nil {
		return nil, err
	}
	p := &pharmacy{db: db, bus: tidings.New(opts...)}
	if err := p.wire(ctx, workers); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return p, nil
}

func (p *pharmacy) wire(ctx context.Context, workers int) (err error) {
	var registry tidings.Registry
	events.Register(&registry)
	config := durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		FetchCooldown:     10 * time.Millisecond,
		FetchPollInterval: 100 * time.Millisecond,
		// How soon the jobs of a dead process are rescued.
		JobTimeout:           5 * time.Second,
		RescueStuckJobsAfter: 6 * time.Second,
		Logger:               slog.New(slog.DiscardHandler),
	})
	if p.client, err = river.NewClient(riversqlite.New(p.db), config); err != nil {
		return err
	}
	if p.jobs, err = durable.New(p.client, config.Workers, tidings.SQL(p.db), &registry); err != nil {
		return err
	}
	if err := p.jobs.Migrate(ctx); err != nil {
		return err
	}

	p.carrier = &carrier{db: p.db, heard: func(string, ...any) {}}
	p.records = ehr.New(p.bus, p.db)
	p.orders = orders.Register(p.bus, p.db)
	// These options decide what happens if the carrier does not answer, or the
	// process dies. With tidings.Async() for both, the order would not be shipped.
	pick, ship := tidings.Via(p.jobs), tidings.SubscribeOptions{tidings.Via(p.jobs), durable.Outside()}
	p.fulfilment = fulfilment.Register(p.bus, p.db, p.carrier, pick, ship)
	return nil
}

// close is a graceful shutdown.
func (p *pharmacy) close(ctx context.Context) error {
	return errors.Join(p.jobs.Close(ctx), p.bus.Close(ctx), p.db.Close())
}

// unfinished returns the number of jobs that are not completed.
func (p *pharmacy) unfinished(ctx context.Context) (n int, err error) {
	counts, err := p.jobs.Counts(ctx)
	for _, c := range counts {
		n += c.Waiting + c.Running + c.Retrying
	}
	return n, err
}
