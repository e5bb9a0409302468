package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// workUntil runs jobs until ctx ends: with signal.NotifyContext, at SIGTERM. Then
// it shuts down gracefully. Kubernetes kills a process 30 s after that signal.
func workUntil(ctx context.Context, jobs *durable.Jobs) error {
	if err := jobs.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return jobs.Close(grace) // 5 s more for handlers that do not end by then
}

func ExampleJobs_Close() {
	ctx, interrupt := context.WithCancel(context.Background())
	db, cleanUp := openShop()
	defer cleanUp()
	jobs, err := newSQLiteJobs(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	ship := func(ctx context.Context, e OrderPlaced) error {
		interrupt() // in the middle of a handler
		fmt.Println("shipped, and not cut off:", ctx.Err() == nil)
		return nil
	}
	tidings.Subscribe(bus, ship, tidings.Named("shipping.ship"), tidings.Via(jobs))
	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Middlemarch"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(workUntil(ctx, jobs))
	// Output:
	// shipped, and not cut off: true
	// <nil>
}

// retryOutage retries the jobs of a handler that died before a time, in batches of
// a hundred.
func retryOutage(ctx context.Context, jobs *durable.Jobs, handler string, before time.Time) error {
	for {
		n, err := jobs.Retry(ctx, durable.Selection{Handler: handler, Before: before, Limit: 100})
		if err != nil || n == 0 {
			return err
		}
		slog.InfoContext(ctx, "retried", "handler", handler, "jobs", n)
	}
}

// metrics writes the number of jobs of each handler, for a monitor.
func metrics(jobs *durable.Jobs) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		counts, err := jobs.Counts(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for handler, c := range counts {
			fmt.Fprintf(w, "jobs_to_do{handler=%q} %d\n", handler, c.Waiting+c.Held+c.Running+c.Retrying)
			fmt.Fprintf(w, "jobs_dead{handler=%q} %d\n", handler, c.Dead)
		}
	}
}

func ExampleJobs_Counts() {
	ctx := context.Background()
	db, cleanUp := openShop()
	defer cleanUp()
	jobs, err := newSQLiteJobs(ctx, db, durable.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()
	refuse := func(context.Context, OrderPlaced) error { return tidings.Permanent(errors.New("no")) }
	tidings.Subscribe(bus, refuse, tidings.Named("shipping.ship"), tidings.Via(jobs))
	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Middlemarch"}); err != nil {
		log.Fatal(err)
	}
	metrics(jobs)(printer{}, new(http.Request))
	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	waitUntilDone(ctx, jobs)
	if err := jobs.Close(ctx); err != nil {
		log.Fatal(err)
	}
	metrics(jobs)(printer{}, new(http.Request))
	if err := retryOutage(ctx, jobs, "shipping.ship", time.Now().Add(time.Hour)); err != nil {
		log.Fatal(err)
	}
	metrics(jobs)(printer{}, new(http.Request))
	// Output:
	// jobs_to_do{handler="shipping.ship"} 1
	// jobs_dead{handler="shipping.ship"} 0
	// jobs_to_do{handler="shipping.ship"} 0
	// jobs_dead{handler="shipping.ship"} 1
	// jobs_to_do{handler="shipping.ship"} 1
	// jobs_dead{handler="shipping.ship"} 0
}

// A printer is an http.ResponseWriter that prints.
type printer struct{}

func (printer) Header() http.Header         { return http.Header{} }
func (printer) WriteHeader(int)             {}
func (printer) Write(b []byte) (int, error) { return fmt.Print(string(b)) }
