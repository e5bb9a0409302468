package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// What the clients that work are configured to, with tidings and without.
const (
	workers       = 20
	fetchCooldown = 5 * time.Millisecond
	fetchPoll     = 100 * time.Millisecond
)

func workConfig() *river.Config {
	return durable.Configure(&river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		FetchCooldown:     fetchCooldown,
		FetchPollInterval: fetchPoll,
	})
}

// A crew inserts jobs and works them.
type crew struct {
	insert      func(ctx context.Context, n int) error // in one transaction
	start, stop func(ctx context.Context) error
}

// A crewFunc makes a crew that calls begun first thing in each handler, and
// paid when that has written.
type crewFunc[TTx any] func(d *jobDB[TTx], begun, paid func()) (*crew, error)

// bareCrew is River alone, as its documentation says: the worker's writes and
// the completion of the job in one transaction.
func bareCrew[TTx any](d *jobDB[TTx], begun, paid func()) (*crew, error) {
	w, err := newBillWriter(false)
	if err != nil {
		return nil, err
	}
	config := workConfig()
	river.AddWorker(config.Workers, &billWorker[TTx]{d: d, begun: begun, paid: paid})
	client, err := d.client(config)
	if err != nil {
		return nil, err
	}
	next := w.jobArgs()
	return &crew{
		insert: func(ctx context.Context, n int) error {
			insert := insertOneJob[TTx]
			if n > 1 {
				insert = insertManyJobs[TTx](n)
			}
			return d.bare(ctx, func(tx TTx) error { return insert(ctx, client, tx, next) })
		},
		start: client.Start,
		stop:  client.Stop,
	}, nil
}

type billWorker[TTx any] struct {
	river.WorkerDefaults[billArgs]
	d           *jobDB[TTx]
	begun, paid func()
}

func (w *billWorker[TTx]) Work(ctx context.Context, job *river.Job[billArgs]) error {
	w.begun()
	return w.d.bare(ctx, func(tx TTx) error {
		if err := w.d.pay(ctx, tx, job.Args.Data); err != nil {
			return err
		}
		w.paid()
		_, err := river.JobCompleteTx[riverdriver.Driver[TTx]](ctx, tx, job)
		return err
	})
}

// durableCrew is a durable handler.
func durableCrew[TTx any](d *jobDB[TTx], begun, paid func()) (*crew, error) {
	bus, jobs, err := d.durably(workConfig(), func(ctx context.Context, e Billed) error {
		begun()
		tx, ok := tidings.TxFrom[TTx](ctx)
		if !ok {
			return fmt.Errorf("no %T in the ctx of the handler", tx)
		}
		if err := d.pay(ctx, tx, e.Bill); err != nil {
			return err
		}
		paid()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &crew{
		insert: func(ctx context.Context, n int) error {
			return d.transact(ctx, func(ctx context.Context) error { return publishBills(ctx, bus, n) })
		},
		start: jobs.Start,
		stop:  func(ctx context.Context) error { return errors.Join(jobs.Stop(ctx), bus.Close(ctx)) },
	}, nil
}
