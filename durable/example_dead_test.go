package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// Dead jobs are kept with the event and the reason. Once the cause is gone,
// an operator lets them run again.
func ExampleJobs_Retry() {
	ctx := context.Background()
	db, cleanUp := openShop()
	defer cleanUp()
	bus := tidings.New()
	jobs, err := newSQLiteJobs(ctx, db, durable.WithBus(bus), durable.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}

	// An alert for each dead job.
	tidings.Subscribe(bus, func(_ context.Context, e durable.JobDied) error {
		fmt.Println("alert:", e.Job.Reason)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e durable.JobRetried) error {
		fmt.Println("on record: somebody retried", e.Job.Handler)
		return nil
	})

	mailServer := errors.New("the mail server does not answer")
	mail := func(_ context.Context, e OrderPlaced) error {
		if mailServer == nil {
			fmt.Println("mailed:", e.Item)
		}
		return mailServer
	}
	tidings.Subscribe(bus, mail, tidings.Named("mail.confirm"), tidings.Via(jobs), tidings.Attempts(1), durable.Outside())
	event := tidings.Stamp(ctx, OrderPlaced{Item: "Middlemarch", Copies: 2})
	if err := tidings.Publish(ctx, bus, event); err != nil {
		log.Fatal(err)
	}
	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	waitUntilDone(ctx, jobs)

	status, err := jobs.Status(ctx, event.EventID())
	if err != nil {
		log.Fatal(err)
	}
	for _, job := range status {
		fmt.Println("status:", job.Handler, job.State)
	}

	if err := jobs.Close(ctx); err != nil { // for the output alone
		log.Fatal(err)
	}
	mailServer = nil
	n, err := jobs.Retry(ctx, durable.Selection{Handler: "mail.confirm"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("retried:", n)
	if err := jobs.Start(ctx); err != nil {
		log.Fatal(err)
	}
	waitUntilDone(ctx, jobs)
	if err := jobs.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// alert: tidings: mail.confirm handling durable_test.OrderPlaced: the mail server does not answer
	// status: mail.confirm dead
	// on record: somebody retried mail.confirm
	// retried: 1
	// mailed: Middlemarch
}
