package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/examples/pharmacy/ehr"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/examples/pharmacy/orders"
	"github.com/tidings-go/tidings/relay"
)

// A monolith is the pharmacy without the module fulfilment.
type monolith struct {
	db      *sql.DB
	bus     *tidings.EventBus
	jobs    *durable.Jobs // the outbox
	relay   *relay.Relay
	records *ehr.Records
	orders  *orders.Orders
}

func openMonolith(ctx context.Context, file, broker, prefix string) (*monolith, error) {
	db, err := openDatabase(ctx, file, ehr.Schema+orders.Schema+journalSchema)
	if err != nil {
		return nil, err
	}
	m := &monolith{db: db, bus: tidings.New(tidings.WithMiddleware(journal(db)))}
	if err := m.wire(ctx, broker, prefix); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return m, nil
}

func (m *monolith) wire(ctx context.Context, broker, prefix string) (err error) {
	var registry tidings.Registry
	events.Register(&registry)
	if m.jobs, err = openJobs(ctx, m.db, &registry); err != nil {
		return err
	}
	if m.relay, err = relay.Open(ctx, broker, &registry, relay.WithPrefix(prefix)); err != nil {
		return err
	}
	m.records = ehr.New(m.bus, m.db)
	m.orders = orders.Register(m.bus, m.db)

	// Here the fulfilment was subscribed. Now a job is stored in the transaction of
	// the order. It sends the event, and is retried until the broker has accepted
	// it. Outside: no transaction is open meanwhile. A broker may be down for hours.
	relay.Forward[events.OrderReadyForFulfillment](m.bus, m.relay,
		tidings.Via(m.jobs), durable.Outside(), tidings.Attempts(1000), tidings.Backoff(upToHalfAMinute))
	return nil
}

func upToHalfAMinute(attempt int) time.Duration {
	return min(time.Duration(attempt)*500*time.Millisecond, 30*time.Second)
}

// openJobs returns the jobs in db.
func openJobs(ctx context.Context, db *sql.DB, registry *tidings.Registry) (*durable.Jobs, error) {
	config := durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
		FetchCooldown:     10 * time.Millisecond,
		FetchPollInterval: 100 * time.Millisecond,
		// How soon the jobs of a dead process are rescued.
		JobTimeout:           20 * time.Second,
		RescueStuckJobsAfter: 25 * time.Second,
		Logger:               slog.New(slog.DiscardHandler),
	})
	client, err := river.NewClient(riversqlite.New(db), config)
	if err != nil {
		return nil, err
	}
	jobs, err := durable.New(client, config.Workers, tidings.SQL(db), registry)
	if err != nil {
		return nil, err
	}
	return jobs, errors.Join(migrateRiver(ctx, db), jobs.Migrate(ctx))
}

// start starts the workers of the outbox. The relay only sends, so it needs no
// Start.
func (m *monolith) start(ctx context.Context) error { return m.jobs.Start(ctx) }

// close is a graceful shutdown. The workers that send end first.
func (m *monolith) close(ctx context.Context) error {
	return errors.Join(m.jobs.Close(ctx), m.bus.Close(ctx), m.relay.Close(ctx), m.db.Close())
}

// approve places, requests and approves n orders.
func (m *monolith) approve(ctx context.Context, n int) error {
	var before int
	if err := m.db.QueryRowContext(ctx, "SELECT count(*) FROM orders").Scan(&before); err != nil {
		return err
	}
	for i := range n {
		id := fmt.Sprintf("O-%d", before+i+1)
		item := orders.Item{ID: id + "/1", Product: "amoxicillin"}
		if err := m.orders.Place(ctx, id, item); err != nil {
			return err
		}
		request, err := m.records.Request(ctx, ehr.Request{EncounterID: 5, Product: item.Product, OrderID: id, OrderItemID: item.ID})
		if err != nil {
			return err
		}
		if err := m.records.Approve(ctx, "Dr. Osei", request); err != nil {
			return err
		}
	}
	return nil
}

// tally counts the orders, and the events in the outbox.
func (m *monolith) tally(ctx context.Context) (string, error) {
	var ready, sent, dead, left int
	err := m.db.QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE ready").Scan(&ready)
	if err != nil {
		return "", err
	}
	counts, err := m.jobs.Counts(ctx)
	for _, c := range counts {
		sent += c.Done
		dead += c.Dead
		left += c.Total() - c.Done - c.Dead
	}
	line := fmt.Sprintf("%d orders ready, %d sent to the broker, %d to send", ready, sent, left)
	if dead > 0 {
		line += fmt.Sprintf(", %d given up", dead)
	}
	return line, err
}

func serveMonolith(ctx context.Context, o options, out io.Writer) (err error) {
	m, err := openMonolith(ctx, o.db, o.broker, o.prefix)
	if err != nil {
		return err
	}
	defer closeGently(ctx, m.close, &err)
	if err := m.start(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "monolith: running; Ctrl-C stops it")
	return report(ctx, out, "monolith", m.tally, func(ctx context.Context) error { return m.approve(ctx, o.orders) })
}
