// Command quickstart is a service that takes orders:
//
//	curl -d item=Middlemarch localhost:8080/orders
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os/signal"
	"syscall"
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
	OrderID int64
	Item    string
}

func main() {
	addr := flag.String("addr", "localhost:8080", "the address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, and then shuts down.
func run(ctx context.Context, addr string) (err error) {
	// Concurrent transactions wait for their turn to write, instead of failing.
	db, err := sql.Open("sqlite", "shop.db?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT)"); err != nil {
		return err
	}
	jobs, err := openJobs(ctx, db)
	if err != nil {
		return err
	}
	bus := tidings.New()
	subscribe(bus, jobs)
	services := tidings.Services{bus, jobs}
	if err := services.Start(ctx); err != nil {
		return err
	}

	server := &http.Server{Addr: addr, Handler: routes(db, bus)}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(ctx), services.Close(ctx))
}

func routes(db *sql.DB, bus *tidings.EventBus) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		order := OrderPlaced{Item: r.FormValue("item")}
		err := tidings.InTx(r.Context(), db, nil, func(ctx context.Context, tx *sql.Tx) error {
			row := tx.QueryRowContext(ctx, "INSERT INTO orders (item) VALUES (?) RETURNING id", order.Item)
			if err := row.Scan(&order.OrderID); err != nil {
				return err
			}
			return tidings.Publish(ctx, bus, order)
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	return mux
}

// subscribe adds the handlers. In a larger program each module adds its own.
func subscribe(bus *tidings.EventBus, jobs *durable.Jobs) {
	// Runs after the commit, before InTx returns.
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Printf("catalog: refresh %q\n", e.Item)
		return nil
	}, tidings.Named("catalog.refresh"))

	// Runs as a job, which is stored in the transaction and retried if it fails.
	tidings.Subscribe(bus, func(_ context.Context, e OrderPlaced) error {
		fmt.Printf("shipping: order %d, %q\n", e.OrderID, e.Item)
		return nil
	}, tidings.Named("shipping.ship"), tidings.Via(jobs))
}

// openJobs returns the durable handlers' jobs, on River.
func openJobs(ctx context.Context, db *sql.DB) (*durable.Jobs, error) {
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	var registry tidings.Registry // the names under which events are stored
	tidings.Register[OrderPlaced](&registry, "orders.order_placed", 1)
	config := durable.Configure(&river.Config{Queues: map[string]river.QueueConfig{"default": {MaxWorkers: 4}}})
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
