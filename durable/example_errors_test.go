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

// A response is what a payment provider answers.
type response struct {
	status     int
	retryAfter time.Duration
}

// outcome returns nil for success, and an error that says when to retry.
func outcome(r response) error {
	err := fmt.Errorf("the provider answers %d", r.status)
	switch {
	case r.status < 300:
		return nil
	case r.status == http.StatusTooManyRequests:
		return tidings.RetryAfter(err, r.retryAfter) // as the provider asks
	case r.status < 500:
		return tidings.Permanent(err) // a retry would fail too
	}
	return err // retried after the Backoff
}

// A handler's error says whether and when it is called again.
func ExamplePermanent() {
	ctx := context.Background()
	db, cleanUp := openShop()
	defer cleanUp()
	jobs, err := newSQLiteJobs(ctx, db, durable.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	bus := tidings.New()

	answers := []response{
		{status: http.StatusBadGateway},
		{status: http.StatusTooManyRequests, retryAfter: 20 * time.Millisecond},
		{status: http.StatusPaymentRequired},
	}
	charge := func(_ context.Context, e OrderPlaced) error {
		r := answers[0]
		answers = answers[1:]
		fmt.Println("charging:", r.status)
		return outcome(r)
	}
	linear := tidings.Backoff(func(attempt int) time.Duration { return time.Duration(attempt) * 10 * time.Millisecond })
	tidings.Subscribe(bus, charge, tidings.Named("billing.charge"),
		tidings.Via(jobs), durable.Outside(), tidings.Attempts(8), linear)

	if err := tidings.Publish(ctx, bus, OrderPlaced{Item: "Middlemarch", Copies: 2}); err != nil {
		log.Fatal(err)
	}
	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	waitUntilDone(ctx, jobs)
	if err := jobs.Close(ctx); err != nil {
		log.Fatal(err)
	}
	dead, err := jobs.Dead(ctx, durable.Selection{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("dead after %d of %d attempts:\n%s\n", dead[0].Attempt, dead[0].MaxAttempts, dead[0].Reason())
	// Output:
	// charging: 502
	// charging: 429
	// charging: 402
	// dead after 3 of 8 attempts:
	// tidings: billing.charge handling durable_test.OrderPlaced: the provider answers 402
}

// RetryAfter and Permanent wrap: the cause can be found.
func ExampleRetryAfter() {
	errBusy := errors.New("try again in a minute")
	err := tidings.RetryAfter(errBusy, time.Minute)
	fmt.Println(err, errors.Is(err, errBusy))
	// Output:
	// try again in a minute true
}
