package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings"
)

// About describes a job in the events of this package.
type About struct {
	JobID     int64
	Handler   string    // the name that the job was stored for
	EventID   uuid.UUID // of the event that the handler was called for
	EventType string    // its registered name
	Attempt   int       // the number of attempts; 0 if it was cancelled before the first
	Reason    string    // the last error, at most some kilobytes of it, or that it was cancelled; "" if there was none
}

// A JobDied says that a handler will not be called again for an event: its
// attempts are exhausted, its error was [tidings.Permanent], or River's ErrorHandler or
// an operator cancelled the job.
//
// After the last attempt it is published once the handler's transaction has
// rolled back, outside a transaction, and a moment before River marks the job
// as dead: so [Jobs.Dead] may not have the job yet. If the process dies in that
// moment, the attempt is repeated and there may be two JobDied.
//
// Any process with started workers notices when River ends a job without its
// handler: at once if River's ErrorHandler cancelled it or its attempt was
// running, and otherwise within a minute. The latter happens to a job that was
// cancelled while it waited, and to one that was rescued after the process died
// in its last attempt. This JobDied is published in the transaction that
// records it, which ends after a minute at most. A job that is deleted, through
// River or with SQL, is not noticed.
//
// JobDied belongs to the workflow of the event: it has its correlation. It has
// no causation, since no handler published it: Job.EventID identifies the
// event.
type JobDied struct {
	tidings.DomainEvent
	Job About
}

// A JobRetried says that [Jobs.Retry] has made a dead job run again, in the
// same transaction. Job describes the job when it was dead. The event has the
// correlation of the job's event, and the causation of the handler that called
// Retry, if one did.
type JobRetried struct {
	tidings.DomainEvent
	Job About
}

// A JobDiscarded says that [Jobs.Discard] has deleted a dead job, in the same
// transaction. Otherwise it is like [JobRetried].
type JobDiscarded struct {
	tidings.DomainEvent
	Job About
}

// Register registers the events of this package, for the event log or the
// transport on the bus of [WithBus].
func Register(r *tidings.Registry) {
	tidings.Register[JobDied](r, "durable.job_died", 1)
	tidings.Register[JobRetried](r, "durable.job_retried", 1)
	tidings.Register[JobDiscarded](r, "durable.job_discarded", 1)
}

// died announces that the current attempt was the last one of a job, with
// cause, and makes River record that when it marks the job as dead. Errors here
// are logged, since the job is dead in any case.
func (j *Jobs) died(ctx context.Context, row *rivertype.JobRow, cause error) {
	if err := river.MetadataSet(ctx, saidKey, row.Attempt); err != nil { // not River's ctx: then it is announced again
		j.logger().WarnContext(ctx, "durable: a job that died will be announced again", slog.Int64("job_id", row.ID), slog.Any("error", err))
	}
	ctx = context.WithoutCancel(ctx)
	job := j.jobOf(row)
	if err := j.tell(ctx, job, cause); err != nil {
		j.logger().ErrorContext(ctx, "durable: a JobDied could not be published", slog.Int64("job_id", job.ID),
			slog.String("handler", job.Handler), slog.Any("error", err))
	}
}

// tell logs that a job is dead, with cause, and publishes a JobDied.
func (j *Jobs) tell(ctx context.Context, job Job, cause error) error {
	about := job.about()
	about.Reason = storableReason(strings.TrimPrefix(cause.Error(), "JobCancelError: "))
	attrs := []any{
		slog.Int64("job_id", about.JobID),
		slog.String("handler", about.Handler),
		slog.String("event_id", about.EventID.String()),
		slog.String("event_type", about.EventType),
		slog.Int("attempt", about.Attempt),
		slog.Any("error", cause),
	}
	ctx, correlation := inWorkflow(ctx, job)
	if correlation != uuid.Nil {
		attrs = append(attrs, slog.String("correlation_id", correlation.String()))
	}
	if stack := stackOf(cause); stack != "" {
		attrs = append(attrs, slog.String("stack", stack))
	}
	if job.cancelled { // by an operator, who knows about it
		j.logger().WarnContext(ctx, "durable: a job was cancelled", attrs...)
	} else {
		j.logger().ErrorContext(ctx, "durable: a job is dead", attrs...)
	}
	if j.config.bus == nil {
		return nil
	}
	return publish(ctx, j.config.bus, JobDied{Job: about})
}

// publish publishes an event of this package. If the event is not registered,
// the error names the function that registers all of them.
func publish[E tidings.Event](ctx context.Context, bus *tidings.EventBus, event E) error {
	err := tidings.Publish(ctx, bus, event)
	if errors.Is(err, tidings.ErrUnregistered) && strings.Contains(err.Error(), fmt.Sprintf("%T is %v", event, tidings.ErrUnregistered)) {
		return &unregisteredError{fmt.Sprintf("durable: a %T is %v: call durable.Register with the Registry of what stores or sends the events of this bus, an event log for example", event, tidings.ErrUnregistered), err}
	}
	return err
}

// An unregisteredError replaces the text of err, which names another remedy.
type unregisteredError struct {
	text string
	err  error
}

func (e *unregisteredError) Error() string { return e.text }
func (e *unregisteredError) Unwrap() error { return e.err }

// inWorkflow returns a context in which published events belong to the workflow
// of the job's event, even if that cannot be decoded. It also returns the
// correlation, or uuid.Nil if it is not known.
func inWorkflow(ctx context.Context, job Job) (context.Context, uuid.UUID) {
	var header struct {
		Correlation uuid.UUID `json:"correlationid"`
	}
	if json.Unmarshal(job.Data, &header) != nil || header.Correlation == uuid.Nil {
		return ctx, uuid.Nil
	}
	return tidings.WithCorrelationID(ctx, header.Correlation), header.Correlation
}
