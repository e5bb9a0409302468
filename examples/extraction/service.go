package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/pharmacy/events"
	"github.com/tidings-go/tidings/examples/pharmacy/fulfilment"
	"github.com/tidings-go/tidings/relay"
)

// A service is the module fulfilment, with its own bus and database.
type service struct {
	db         *sql.DB
	bus        *tidings.EventBus
	relay      *relay.Relay
	fulfilment *fulfilment.Fulfilment
	carrier    *carrier
}

func openService(ctx context.Context, file, broker, prefix string) (*service, error) {
	db, err := openDatabase(ctx, file, fulfilment.Schema+carrierSchema+journalSchema)
	if err != nil {
		return nil, err
	}
	s := &service{db: db, carrier: &carrier{db: db}}
	if err := s.wire(ctx, broker, prefix); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *service) wire(ctx context.Context, broker, prefix string) error {
	var registry tidings.Registry
	events.Register(&registry)
	log, err := eventlog.Open(ctx, eventlog.SQLite(s.db), &registry)
	if err != nil {
		return err
	}
	if s.relay, err = relay.Open(ctx, broker, &registry, relay.WithPrefix(prefix)); err != nil {
		return err
	}

	// A broker delivers at least once. pick is not idempotent, so it has the inbox.
	// ship is idempotent, and no transaction, such as the inbox's, should be open
	// while it waits for the carrier.
	s.bus = tidings.New(tidings.WithMiddleware(journal(s.db)))
	// A short Timeout: some brokers wait for the Timeout and half a minute more
	// before they redeliver the events of a dead process.
	soon := tidings.Timeout(10 * time.Second)
	pick := tidings.SubscribeOptions{tidings.Via(s.relay), soon, log.Inbox()}
	ship := tidings.SubscribeOptions{tidings.Via(s.relay), soon, relay.Workers(4)}
	s.fulfilment = fulfilment.Register(s.bus, s.db, s.carrier, pick, ship)
	return nil
}

// start begins to fetch events. After the first start the broker keeps events for
// this service also while it is not running.
func (s *service) start(ctx context.Context) error { return s.relay.Start(ctx) }

// close is a graceful shutdown: it waits for the running handlers.
func (s *service) close(ctx context.Context) error {
	return errors.Join(s.relay.Close(ctx), s.bus.Close(ctx), s.db.Close())
}

// tally counts the orders by their state.
func (s *service) tally(ctx context.Context) (string, error) {
	var picked, shipped, parcels, calls int
	err := s.db.QueryRowContext(ctx, `
		SELECT (SELECT coalesce(sum(boxes), 0) FROM picked),
		       (SELECT count(*) FROM shipments),
		       (SELECT count(*) FROM carrier_parcels),
		       (SELECT coalesce(sum(calls), 0) FROM carrier_parcels)`).
		Scan(&picked, &shipped, &parcels, &calls)
	line := fmt.Sprintf("%d boxes picked, %d orders shipped", picked, shipped)
	if calls > parcels {
		line += fmt.Sprintf("; %d calls to the carrier for %d parcels", calls, parcels)
	}
	return line, err
}

func serveFulfilment(ctx context.Context, o options, out io.Writer) (err error) {
	s, err := openService(ctx, o.db, o.broker, o.prefix)
	if err != nil {
		return err
	}
	defer closeGently(ctx, s.close, &err)
	s.carrier.pace, s.carrier.refuses = pace, o.refuse
	if err := s.start(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "fulfilment: listening; Ctrl-C stops it")
	return report(ctx, out, "fulfilment", s.tally, func(context.Context) error { return nil })
}
