package durabletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/durable/internal/drain"
	"github.com/tidings-go/tidings/internal/testhook"
)

// Drain works all due jobs and the jobs that they lead to, and returns when no
// job is due any more. The client of jobs must be configured with [Configure],
// and jobs must not be started.
//
// Jobs run one at a time. The queues take turns, in the order of their names,
// and a turn lasts until no job is due in that queue. Within a queue jobs run
// in the order of their priority, then of the time when they are due, then of
// their ids, which is the order in which they were stored.
//
// A job is attempted once while the clock stands still: a [durable.Backoff] of
// 0 counts as a millisecond. So Drain returns if a handler fails, and the first
// Drain after the clock has advanced makes the next attempt. A failed handler
// is not an error of Drain: check [durable.Jobs.Status], or what the handler
// should have done.
//
// Drain works as many jobs as it can and returns an error if
//
//   - a job is due in a queue that the client does not work, or that is paused.
//   - ctx ends before the work does. The running attempt is interrupted and
//     does not count. The error wraps the error of ctx and says which jobs are
//     left.
//   - a handler does not end within five seconds after that.
//
// Drain returns an error without doing anything if the workers are started, if
// another Drain works the same jobs (for instance one that called this
// handler), if the client is not configured for it, if the client and jobs have
// different clocks, or if ctx is in a transaction, since no worker sees its
// jobs before the commit.
//
// Handlers get a ctx with the values of ctx. Timeouts of handlers use the
// machine's clock. Drain neither waits for nor disturbs jobs that other clients
// work.
func Drain(ctx context.Context, jobs *durable.Jobs) error {
	if jobs == nil {
		return errors.New("durabletest: Drain with nil Jobs")
	}
	if _, in := tidings.TxDatabase(ctx); in || testhook.BaseFrom(ctx) != nil {
		return errors.New("durabletest: Drain: ctx is in a transaction, and workers see its jobs when it has committed: call Drain after that, with the ctx of the test")
	}
	engine := drain.EngineOf(jobs)
	s, ok := setups.Load(engine.Workers())
	if !ok {
		return errors.New("durabletest: Drain: the client is not configured for this: use durabletest.Configure, and pass durable.New the Workers of that configuration")
	}
	if before, now := s.now(), engine.Now(); now.Before(before) || now.After(s.now()) {
		return fmt.Errorf("durabletest: Drain: it is %v for the client and %v for the handlers: pass durable.New the option durable.WithClock with the clock that Configure has", before, now)
	}
	if err := engine.Acquire(); err != nil {
		return fmt.Errorf("durabletest: Drain: %w", err)
	}
	defer engine.Release()

	d := &drainer{engine, s}
	err := d.drain(ctx)
	if ctx.Err() != nil {
		err = d.interrupted(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("durabletest: Drain: %w", err)
	}
	return nil
}

// A drainer is one call of Drain.
type drainer struct {
	engine drain.Engine
	setup  *setup
}

// drain works until no job is due. The outcome of an attempt may be stored only
// when the client stops, so it looks again after that.
func (d *drainer) drain(ctx context.Context) error {
	for {
		queue, err := d.next(ctx)
		if err != nil {
			return err
		}
		if queue == "" {
			return d.unworked(ctx)
		}
		if err := d.run(ctx, queue); err != nil {
			return err
		}
	}
}

// next returns the queue that has the next turn, or "" if no job is due.
func (d *drainer) next(ctx context.Context) (string, error) {
	if err := d.engine.Promote(ctx); err != nil {
		return "", err
	}
	queues, err := d.due(ctx)
	if err != nil || len(queues) == 0 {
		return "", err
	}
	return slices.Min(queues), nil
}

// due returns the queues that have due jobs.
func (d *drainer) due(ctx context.Context) ([]string, error) {
	queues, err := d.engine.Due(ctx)
	var names []string
	for _, q := range queues {
		if _, worked := d.setup.queues[q.Name]; worked && !q.Paused {
			names = append(names, q.Name)
		}
	}
	return names, err
}

// unworked returns an error if a job is due in a queue that the client does not
// work.
func (d *drainer) unworked(ctx context.Context) error {
	queues, err := d.engine.Due(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(queues, func(a, b drain.Queue) int { return strings.Compare(a.Name, b.Name) })
	var errs []error
	for _, q := range queues {
		if _, worked := d.setup.queues[q.Name]; !worked {
			errs = append(errs, fmt.Errorf("jobs are due in the queue %q, which the client does not work: add it to the Queues in its configuration", q.Name))
		} else if q.Paused {
			errs = append(errs, fmt.Errorf("jobs are due in the queue %q, which is paused", q.Name))
		}
	}
	return errors.Join(errs...)
}

// run makes the client work, from the turn of queue until no job is due.
func (d *drainer) run(ctx context.Context, queue string) (err error) {
	// The client starts without queues: only the queue whose turn it is has a
	// worker, or else chance would choose between queues.
	if err := d.remove(ctx); err != nil {
		return err
	}
	defer func() {
		// Even if ctx has ended: then Close interrupts the handler.
		if stopped := d.engine.Stop(ctx); stopped != nil {
			err = errors.Join(err, stopped) // so the queues are still in use
			return
		}
		err = errors.Join(err, d.restore(context.WithoutCancel(ctx)))
	}()
	if err := d.engine.Start(ctx); err != nil {
		return err
	}
	for queue != "" {
		if err := d.turn(ctx, queue); err != nil {
			return err
		}
		if queue, err = d.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// recheck is how often a turn checks what is due without a signal. A job of a
// kind that the client does not know begins without one.
const recheck = 10 * time.Millisecond

// turn works a queue until no job is due there. When the last job has begun it
// removes the worker, which waits for the end of the attempt.
func (d *drainer) turn(ctx context.Context, queue string) error {
	if err := d.engine.Queues().Add(queue, d.setup.queues[queue]); err != nil {
		return err
	}
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.setup.began:
		case <-tick.C:
		}
		queues, err := d.due(ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(queues, queue) {
			return d.engine.Queues().Remove(ctx, queue)
		}
	}
}

func (d *drainer) remove(ctx context.Context) error {
	for name := range d.setup.queues {
		var missing *river.QueueNotFoundError
		if err := d.engine.Queues().Remove(ctx, name); err != nil && !errors.As(err, &missing) {
			return err
		}
	}
	return nil
}

// restore gives the client its queues back.
func (d *drainer) restore(ctx context.Context) error {
	if err := d.remove(ctx); err != nil { // the queue whose turn was cut short
		return err
	}
	for name, config := range d.setup.queues {
		if err := d.engine.Queues().Add(name, config); err != nil {
			return err
		}
	}
	return nil
}

// interrupted returns the error of a Drain whose ctx has ended.
func (d *drainer) interrupted(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		err = ctx.Err() // drivers wrap it in more words
	} else {
		err = errors.Join(ctx.Err(), err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	left, failed := d.engine.Left(ctx)
	if failed != nil {
		return errors.Join(err, fmt.Errorf("listing the jobs that are left: %w", failed))
	}
	if len(left) == 0 {
		return err
	}
	return fmt.Errorf("%w, and jobs are left: %s", err, describe(left))
}

func describe(jobs []*rivertype.JobRow) string {
	const most = 5
	var text []string
	for _, job := range jobs[:min(most, len(jobs))] {
		text = append(text, fmt.Sprintf("%q (job %d in the queue %q, %s, attempt %d)", job.Kind, job.ID, job.Queue, job.State, job.Attempt))
	}
	if more := len(jobs) - most; more > 0 {
		text = append(text, fmt.Sprintf("%d more", more))
	}
	return strings.Join(text, ", ")
}
