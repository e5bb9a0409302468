// Package scaling wires up the two modules of a shop in each way that the guide
// "Scaling out" describes.
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

// plain wires up one process, whose handlers run after the commit.
func plain(bus *tidings.EventBus, db *sql.DB) *orders.Orders {
	shipping.Register(bus, db)
	return orders.Register(bus, db)
}

// stored wires up one or several identical processes with durable handlers. The
// jobs are in the database that the processes share.
func stored(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs) *orders.Orders {
	shipping.Register(bus, db, tidings.Via(jobs))
	return orders.Register(bus, db, tidings.Via(jobs))
}

// relayed wires up one or several identical processes, whose handlers get their
// events from the broker.
func relayed(bus *tidings.EventBus, db *sql.DB, r *relay.Relay, log *eventlog.Log) *orders.Orders {
	shipping.Register(bus, db, tidings.Via(r), log.Inbox())
	return orders.Register(bus, db, tidings.Via(r))
}

// outbox returns the options of handlers that send events to the broker. They hold
// no transaction meanwhile, and retry for half a day. The backoff has a limit of
// 30 s, so that events are sent soon after the broker is back.
func outbox(jobs *durable.Jobs) tidings.SubscribeOptions {
	return tidings.SubscribeOptions{
		tidings.Via(jobs),
		durable.Outside(),
		tidings.Attempts(1500),
		tidings.Backoff(func(attempt int) time.Duration { return min(time.Duration(attempt)*time.Second, 30*time.Second) }),
	}
}

// monolith wires up the program without the module shipping.
func monolith(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs, r *relay.Relay) *orders.Orders {
	relay.Forward[events.OrderPlaced](bus, r, outbox(jobs))
	relay.Receive[events.ParcelSent](bus, r, "shop")
	return orders.Register(bus, db, tidings.Via(jobs))
}

// service wires up the module shipping as a separate process with a separate
// database. The event log there is for its inbox.
func service(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs, r *relay.Relay, log *eventlog.Log) {
	shipping.Register(bus, db, tidings.Via(r), log.Inbox())
	relay.Forward[events.ParcelSent](bus, r, outbox(jobs))
}

// moving is monolith in the first release without shipping. Jobs that an older
// process stored for its handler are forwarded to the service.
func moving(bus *tidings.EventBus, db *sql.DB, jobs *durable.Jobs, r *relay.Relay) *orders.Orders {
	relay.Forward[events.OrderPlaced](bus, r, outbox(jobs), durable.Alias("shipping.pack"))
	relay.Receive[events.ParcelSent](bus, r, "shop")
	return orders.Register(bus, db, tidings.Via(jobs))
}

// run runs the handlers until ctx ends. Call it after all handlers are
// subscribed. The relay starts before the jobs, so that the broker has the
// queues of the handlers here.
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
