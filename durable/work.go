package durable

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings"
)

// A worker works the jobs of durable handlers for River.
type worker struct {
	river.WorkerDefaults[delivery]
	jobs *Jobs
}

func (w *worker) Timeout(job *river.Job[delivery]) time.Duration {
	h, err := w.jobs.handlerOf(job.Kind)
	if err != nil {
		return 0
	}
	return h.timeout
}

// NextRetry returns when the next attempt is due; the zero time leaves that
// to the client's policy.
func (w *worker) NextRetry(job *river.Job[delivery]) time.Time {
	if !job.Args.retryAt.IsZero() {
		return job.Args.retryAt
	}
	h, err := w.jobs.handlerOf(job.Kind)
	if err != nil || h.backoff == nil {
		return time.Time{}
	}
	return w.jobs.config.now().Add(max(0, h.backoff(job.Attempt)))
}

// Work makes one attempt. Its error tells River what comes next.
func (w *worker) Work(ctx context.Context, job *river.Job[delivery]) error {
	event, err := w.jobs.attempt(ctx, job.JobRow)
	if err == nil {
		return nil
	}
	var (
		after     *retryAfterError
		permanent *permanentError
		cancel    *river.JobCancelError
		snooze    *river.JobSnoozeError
	)
	switch {
	case errors.As(err, &snooze), errors.Is(err, errTaken), errors.Is(context.Cause(ctx), river.ErrJobCancelledRemotely):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		// River takes an attempt for interrupted by Stop, and does not
		// count it, if its error says so; drivers have words of their own.
		return fmt.Errorf("%w: %w", context.Canceled, err)
	case errors.As(err, &cancel):
	case errors.As(err, &permanent):
		err = river.JobCancel(err)
	case job.Attempt < job.MaxAttempts:
		if errors.As(err, &after) {
			job.Args.retryAt = w.jobs.config.now().Add(after.wait)
		}
		return err
	}
	w.jobs.died(ctx, job.JobRow, event, err)
	return err
}

// attempt runs the handler of a job for its event, which it returns if it can
// be decoded. If it returns nil and the handler is not [Outside], the job is
// completed.
func (j *Jobs) attempt(ctx context.Context, job *rivertype.JobRow) (tidings.Event, error) {
	h, err := j.handlerOf(job.Kind)
	if err != nil {
		return nil, err
	}
	event, err := j.decode(job.EncodedArgs)
	if err != nil {
		return nil, fmt.Errorf("durable: the event for %q cannot be decoded: %w", h.name, err)
	}
	m, err := metadataOf(job)
	if err != nil {
		return event, err
	}
	if j.config.extract != nil && len(m.Trace) > 0 {
		ctx = j.config.extract(ctx, m.Trace)
	}
	if h.outside {
		if err := h.deliver(ctx, event); err != nil || m.Order == "" {
			return event, err // without an order River completes the job
		}
		ctx = context.WithoutCancel(ctx) // the handler has succeeded
		return event, j.transact(ctx, func(ctx context.Context) error { return j.complete(ctx, job, m) })
	}
	return event, j.transact(ctx, func(ctx context.Context) error {
		if err := h.deliver(ctx, event); err != nil {
			return err
		}
		return j.complete(ctx, job, m)
	})
}

func (j *Jobs) decode(args []byte) (tidings.Event, error) {
	text, err := cloudEvent(args)
	if err != nil {
		return nil, err
	}
	return j.registry.Decode(text)
}

// completeSQL is stricter than River's own JobCompleteTx, which succeeds for
// a job that another attempt has completed.
const completeSQL = `
UPDATE {schema}river_job SET state = 'completed', finalized_at = $1
WHERE id = $2 AND attempt = $3 AND state = 'running'
RETURNING id`

// complete marks a job as done, in the transaction of ctx.
func (j *Jobs) complete(ctx context.Context, job *rivertype.JobRow, m metadata) error {
	tx, err := j.txOf(ctx)
	if err != nil {
		return err
	}
	var orders []order
	if m.Order != "" {
		o, err := parseOrder(m.Order)
		if err != nil {
			return err
		}
		orders = append(orders, o)
		if err := j.lock(ctx, tx, orders); err != nil {
			return err
		}
	}
	var id int64
	err = tx.row(ctx, inSchema(j.engine.schema(), completeSQL), []any{j.dbTime(), job.ID, job.Attempt}, &id)
	if noRow(err) {
		return errTaken
	}
	if err != nil {
		return fmt.Errorf("durable: completing the job %d: %w", job.ID, err)
	}
	if len(orders) == 0 {
		return nil
	}
	return j.advance(ctx, tx, orders)
}

// txOf returns the transaction of ctx, which is inside of a Transactor.
func (j *Jobs) txOf(ctx context.Context) (transaction, error) {
	tx, err := j.engine.tx(ctx)
	if err == nil && tx == nil {
		err = errors.New("durable: the Transactor has opened no transaction of tidings: use durable.InTx or durable.Transact")
	}
	return tx, err
}

func (j *Jobs) dbTime() any { return dbTime(j.engine, j.config.now()) }
