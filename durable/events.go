package durable

import (
	"context"
	"log/slog"

	"github.com/google/uuid"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings"
)

// About is what the events of this package say of a job.
type About struct {
	JobID     int64
	Handler   string
	EventID   uuid.UUID // of the event that the handler was called for
	EventType string    // its registered name
	Attempt   int       // how many there were
	Reason    string    // the last error
}

// A JobDied says that a handler will not be called again for an event, since
// its attempts are exhausted or its error was [Permanent]. It is published
// after the handler's transaction has rolled back, and on its own; where the
// process died in the last attempt nobody is there to publish it.
type JobDied struct {
	tidings.DomainEvent
	Job About
}

// A JobRetried says that somebody has let a dead job run again.
type JobRetried struct {
	tidings.DomainEvent
	Job About
}

// A JobDiscarded says that somebody has deleted a dead job.
type JobDiscarded struct {
	tidings.DomainEvent
	Job About
}

// Register registers the events of this package.
func Register(r *tidings.Registry) {
	tidings.Register[JobDied](r, "durable.job_died", 1)
	tidings.Register[JobRetried](r, "durable.job_retried", 1)
	tidings.Register[JobDiscarded](r, "durable.job_discarded", 1)
}

// died makes it known that a job is dead, with cause. event is nil if it
// cannot be decoded.
func (j *Jobs) died(ctx context.Context, row *rivertype.JobRow, event tidings.Event, cause error) {
	ctx = context.WithoutCancel(ctx)
	job := j.jobOf(row)
	about := job.about()
	about.Attempt, about.Reason = row.Attempt, cause.Error()
	attrs := []any{
		slog.Int64("job_id", about.JobID),
		slog.String("handler", about.Handler),
		slog.String("event_id", about.EventID.String()),
		slog.String("event_type", about.EventType),
		slog.Int("attempt", about.Attempt),
		slog.Any("error", cause),
	}
	if event != nil {
		attrs = append(attrs, slog.String("correlation_id", event.CorrelationID().String()))
		ctx = tidings.WithCorrelationID(ctx, event.CorrelationID())
	}
	j.logger().ErrorContext(ctx, "durable: a job is dead", attrs...)
	if j.config.bus == nil {
		return
	}
	if err := tidings.Publish(ctx, j.config.bus, JobDied{Job: about}); err != nil {
		j.logger().ErrorContext(ctx, "durable: a JobDied could not be published", append(attrs, slog.Any("publish_error", err))...)
	}
}
