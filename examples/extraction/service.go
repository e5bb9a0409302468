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

// A service is the fulfilment, alone on its bus and its database.
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

	// What a broker delivers may come twice. To pick twice would count twice, so
	// the inbox stands in front of it. To ship twice does nothing, and no
	// transaction, not even the inbox's, should wait for a carrier.
	s.bus = tidings.New(tidings.WithMiddleware(journal(s.db)))
	// A short Timeout: some brokers wait for that and half a minute more until
	// they give what a process had when it died to another one.
	soon := tidings.Timeout(10 * time.Second)
	pick := tidings.SubscribeOptions{tidings.Via(s.relay), soon, log.Inbox()}
	ship := tidings.SubscribeOptions{tidings.Via(s.relay), soon, relay.Workers(4)}
	s.fulfilment = fulfilment.Register(s.bus, s.db, s.carrier, pick, ship)
	return nil
}

// start begins to fetch events. From the first time on the broker keeps them
// for this service, also while it is not running.
func (s *service) start(ctx context.Context) error { return s.relay.Start(ctx) }

// close fetches no more, and waits for the handlers that run.
func (s *service) close(ctx context.Context) error {
	return errors.Join(s.relay.Close(ctx), s.bus.Close(ctx), s.db.Close())
}

// tally counts what has come of the orders.
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
