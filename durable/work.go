package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/retry"
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

// NextRetry returns when the next attempt is due. The zero time leaves that to
// the client's policy, as does a Backoff that panics: River calls NextRetry
// where a panic would end the process.
func (w *worker) NextRetry(job *river.Job[delivery]) (at time.Time) {
	defer func() {
		if r := recover(); r != nil {
			w.jobs.logger().Error("durable: the Backoff of a handler panicked",
				slog.String("handler", job.Kind), slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			at = time.Time{}
		}
	}()
	wait := w.ownWait(job)
	if wait == nil {
		// River's policy counts the errors. Those from before a Retry must not
		// count, or the first wait would last days.
		job.Errors = job.Errors[max(0, len(job.Errors)-max(0, job.Attempt-1)):]
		return time.Time{}
	}
	// Counted from now: River treats a time before its own as a mistake.
	return w.jobs.now().Add(max(wait(), w.jobs.shortestWait())).Add(job.Args.behind)
}

// ownWait returns a function that returns the wait, or nil if the client's
// policy decides.
func (w *worker) ownWait(job *river.Job[delivery]) func() time.Duration {
	if after := job.Args.retryAfter; after != nil {
		return func() time.Duration { return *after }
	}
	h, err := w.jobs.handlerOf(job.Kind)
	if err != nil || h.backoff == nil {
		return nil
	}
	return func() time.Duration { return h.backoff(job.Attempt) }
}

// Work makes one attempt. Its error tells River what to do next.
func (w *worker) Work(ctx context.Context, job *river.Job[delivery]) error {
	err := w.jobs.contained(ctx, job.JobRow)
	if err == nil {
		return nil
	}
	return storableError(w.failed(ctx, job, err))
}

// failed returns the error for River of an attempt that failed with err.
func (w *worker) failed(ctx context.Context, job *river.Job[delivery], err error) error {
	var (
		cancel *river.JobCancelError
		snooze *river.JobSnoozeError
	)
	remotely := errors.Is(context.Cause(ctx), river.ErrJobCancelledRemotely)
	switch {
	case errors.Is(err, errTaken):
		return w.jobs.lost(ctx, job.JobRow, err)
	case remotely:
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		// River treats an attempt as interrupted by Stop, and does not count
		// it, if its error says so; drivers use other words. What else err is
		// does not matter: the next attempt will tell.
		return fmt.Errorf("%w: %v", context.Canceled, err)
	}
	taken, ahead := w.jobs.taken(ctx, job.JobRow)
	switch {
	case taken:
		return w.jobs.lost(ctx, job.JobRow, err)
	case errors.As(err, &snooze):
		w.countWait(ctx, job, job.Attempt-1, ahead) // River does not count this attempt
		return err
	case errors.As(err, &cancel):
	case retry.IsPermanent(err):
		err = river.JobCancel(err)
	case job.Attempt < job.MaxAttempts:
		if wait, ok := retry.After(err); ok {
			job.Args.retryAfter = &wait
		}
		w.countWait(ctx, job, job.Attempt, ahead)
		w.jobs.panicked(ctx, job.JobRow, err)
		return err
	}
	w.jobs.died(ctx, job.JobRow, err)
	return err
}

// panicked logs the stack of a panic, because River keeps only the value.
func (j *Jobs) panicked(ctx context.Context, job *rivertype.JobRow, err error) {
	if stack := stackOf(err); stack != "" {
		j.logger().ErrorContext(ctx, "durable: a handler panicked", slog.Int64("job_id", job.ID), slog.String("handler", job.Kind),
			slog.Int("attempt", job.Attempt), slog.Any("error", err), slog.String("stack", stack))
	}
}

// stackOf returns the stack of the panic in err, or "" if there is none.
func stackOf(err error) string {
	if p := (*tidings.PanicError)(nil); errors.As(err, &p) {
		return string(p.Stack)
	}
	return ""
}

// contained makes an attempt on its own goroutine. On River's, a handler that
// calls runtime.Goexit, as t.FailNow does, would permanently remove one of the
// workers, and its job would stay running.
func (j *Jobs) contained(ctx context.Context, job *rivertype.JobRow) (err error) {
	err = errGoexit
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil { // not the handler's, which the bus recovers
				err = &tidings.PanicError{Value: r, Stack: debug.Stack()}
			}
		}()
		err = j.attempt(ctx, job)
	}()
	<-done
	return err
}

// attempt runs the handler of a job for its event. If it returns nil and the
// handler is not [Outside], the job is completed.
func (j *Jobs) attempt(ctx context.Context, job *rivertype.JobRow) error {
	h, err := j.handlerOf(job.Kind)
	if err != nil {
		return err
	}
	event, err := j.decode(job.EncodedArgs)
	if err != nil {
		return fmt.Errorf("durable: the event for %q cannot be decoded: %w", h.name, err)
	}
	m, err := metadataOf(job)
	if err != nil {
		return err
	}
	if j.config.extract != nil && len(m.Trace) > 0 {
		ctx = j.config.extract(ctx, m.Trace)
	}
	if m.Done {
		return j.transact(ctx, func(ctx context.Context) error { return j.complete(ctx, job, m) })
	}
	if h.outside {
		if err := h.deliver(ctx, event); err != nil || m.Order == "" {
			return err // without an order River completes the job
		}
		ctx = context.WithoutCancel(ctx) // the handler has succeeded
		return j.transact(ctx, func(ctx context.Context) error { return j.complete(ctx, job, m) })
	}
	return j.transact(ctx, func(ctx context.Context) error {
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

// completeSQL is stricter than River's own JobCompleteTx, which succeeds for a
// job that another attempt has completed. It also records the completion in the
// metadata, since River's rescuer does not check again before it treats a job
// as stuck: a job completed between its SELECT and its UPDATE runs again.
var completeSQL = statement{completeText + `jsonb_set(metadata, '$.tidings_done', json('true'))` + completeWhere,
	completeText + `metadata || '{"tidings_done": true}'` + completeWhere}

const (
	completeText  = `UPDATE {schema}river_job SET state = 'completed', finalized_at = $1, metadata = `
	completeWhere = ` WHERE id = $2 AND attempt = $3 AND state = 'running' RETURNING id`
)

// takenSQL finds the job of an attempt, and the time of the database.
var takenSQL = statement{takenText(nowSQL.sqlite), takenText(nowSQL.postgres)}

func takenText(now string) string {
	return now + ` FROM {schema}river_job WHERE id = $1 AND attempt = $2 AND state = 'running'`
}

// taken reports whether a job is known to belong to its attempt no longer.
// Without this check River, which compares only the id, would treat the failure
// of an attempt that came too late as a failure of the attempt that runs now.
// taken also returns by how much the clock of this process is ahead of the
// database's.
func (j *Jobs) taken(ctx context.Context, job *rivertype.JobRow) (taken bool, aheadBy time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	var micros int64
	before := j.now()
	err := j.engine.pool().row(ctx, takenSQL.text(j.engine), []any{job.ID, job.Attempt}, &micros)
	if err != nil {
		return noRow(err), 0
	}
	return false, ahead(before, j.now(), time.UnixMicro(micros))
}

// reportTimeout limits how long reporting a failure, and what follows from it,
// may take if the database does not answer.
const reportTimeout = 5 * time.Second

// lost returns the error of an attempt whose job is taken.
func (j *Jobs) lost(ctx context.Context, job *rivertype.JobRow, err error) error {
	j.logger().WarnContext(ctx, "durable: an attempt came too late: its job was given to another worker, or cancelled or deleted",
		slog.Int64("job_id", job.ID), slog.String("handler", job.Kind), slog.Int("attempt", job.Attempt), slog.Any("error", err))
	return errTaken
}

// complete marks a job as done, in the transaction of ctx.
func (j *Jobs) complete(ctx context.Context, job *rivertype.JobRow, m metadata) error {
	tx, err := j.engine.tx(ctx)
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
	err = tx.row(ctx, completeSQL.text(j.engine), []any{j.dbTime(), job.ID, job.Attempt}, &id)
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

func (j *Jobs) dbTime() any { return dbTime(j.engine, j.now()) }
