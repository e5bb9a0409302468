// Package scaling wires the two modules of a shop up in the ways that the guide
// "Scaling out" goes through.
package scaling

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/guide/scaling/events"
	"github.com/tidings-go/tidings/examples/guide/scaling/orders"
	"github.com/tidings-go/tidings/examples/guide/scaling/shipping"
	"github.com/tidings-go/tidings/relay"
)

// plain is one process, whose handlers run after the commit.
func plain(bus *tidings.EventBus, db *sql.DB) *orders.Orders {
	shipping.Register(bus, db)
	return orders.Register(bus, db)
}

// stored is one process or several identical ones, whose handlers are jobs in
// the database that they share.
func stored(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs) *orders.Orders {
	shipping.Register(bus, db, tidings.Via(jobs))
	return orders.Register(bus, db, tidings.Via(jobs))
}

// relayed is one process or several identical ones, whose handlers get their
// events from the broker.
func relayed(bus *tidings.EventBus, db *sql.DB, r *relay.Relay, log *eventlog.Log) *orders.Orders {
	shipping.Register(bus, db, tidings.Via(r), log.Inbox())
	return orders.Register(bus, db, tidings.Via(r))
}

// outbox is how events are sent to the broker: with no transaction open, and
// for half a day without one. The waits do not grow for long, so that they are
// sent soon after it is back.
func outbox(jobs *durable.Jobs) tidings.SubscribeOptions {
	return tidings.SubscribeOptions{
		tidings.Via(jobs),
		durable.Outside(),
		tidings.Attempts(1500),
		tidings.Backoff(func(attempt int) time.Duration { return min(time.Duration(attempt)*time.Second, 30*time.Second) }),
	}
}

// monolith is the program without the module shipping.
func monolith(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs, r *relay.Relay) *orders.Orders {
	relay.Forward[events.OrderPlaced](bus, r, outbox(jobs))
	relay.Receive[events.ParcelSent](bus, r, "shop")
	return orders.Register(bus, db, tidings.Via(jobs))
}

// service is the module shipping in a process of its own, with a database of
// its own. log is an event log there, for its inbox.
func service(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs, r *relay.Relay, log *eventlog.Log) {
	shipping.Register(bus, db, tidings.Via(r), log.Inbox())
	relay.Forward[events.ParcelSent](bus, r, outbox(jobs))
}

// moving is monolith in the first release without shipping. Jobs that are there
// for its handler, since an older process has stored them, go to the service.
func moving(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs, r *relay.Relay) *orders.Orders {
	relay.Forward[events.OrderPlaced](bus, r, outbox(jobs), durable.Alias("shipping.pack"))
	relay.Receive[events.ParcelSent](bus, r, "shop")
	return orders.Register(bus, db, tidings.Via(jobs))
}

// run works until ctx ends, once everything is subscribed. The relay starts before the
// jobs, so that the broker knows the handlers of this process.
func run(ctx context.Context, bus *tidings.EventBus, jobs *durable.Jobs, r *relay.Relay) error {
	services := tidings.Services{bus, r, jobs}
	err := services.Start(ctx)
	if err == nil {
		<-ctx.Done()
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return errors.Join(err, services.Close(grace))
}
