package durable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog"
)

// logged returns the bus of a log in the harness' database, and what reads the
// events of a type from that log.
func logged(t testing.TB, h harness, registry *tidings.Registry) (*tidings.EventBus, func(typ string) []tidings.Event) {
	t.Helper()
	log, err := eventlog.Open(t.Context(), h.log, registry)
	require.NoError(t, err)
	bus := tidings.New()
	log.Attach(bus)
	return bus, func(typ string) (events []tidings.Event) {
		for recorded, err := range log.Read(t.Context(), eventlog.Types(typ)) {
			require.NoError(t, err)
			events = append(events, recorded.Event)
		}
		return events
	}
}

func aboutOf(event tidings.Event) durable.About {
	switch e := event.(type) {
	case durable.JobDied:
		return e.Job
	case durable.JobRetried:
		return e.Job
	case durable.JobDiscarded:
		return e.Job
	}
	return durable.About{}
}

func TestTheLogHasTheRecord(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus, read := logged(t, h, newRegistry())
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return errors.New("the card was declined") },
			tidings.Named("ops.pay"), tidings.Via(jobs), tidings.Attempts(2), tidings.Backoff(func(int) time.Duration { return 0 }))
		start(t, jobs)
		workflow := uuid.New()
		event := tidings.Stamp(tidings.WithCorrelationID(t.Context(), workflow), Accepted{Number: "1"})
		require.NoError(t, tidings.Publish(t.Context(), bus, event))

		job := eventuallyIn(t, jobs, event, "ops.pay", durable.Dead)
		require.Equal(t, "the card was declined", lastLine(job.Reason()))
		want := durable.About{JobID: job.ID, Handler: "ops.pay", EventID: event.EventID(), EventType: "crm.accepted", Attempt: 2, Reason: job.Reason()}
		recorded := func(typ string, n int) tidings.Event {
			t.Helper()
			events := read(typ)
			require.Len(t, events, n, typ)
			last := events[n-1]
			require.Equal(t, want, aboutOf(last), typ)
			require.Equal(t, workflow, last.CorrelationID(), typ)
			return last
		}
		died := recorded("durable.job_died", 1)
		require.Equal(t, uuid.Nil, died.CausationID())

		// With the ctx of an operator's request, that is a workflow itself.
		n, err := jobs.Retry(tidings.WithCorrelationID(t.Context(), uuid.New()), durable.Selection{JobIDs: []int64{job.ID}})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		recorded("durable.job_retried", 1)
		waitUntil(t, func() bool { return len(read("durable.job_died")) == 2 }, "it has not died again")
		recorded("durable.job_died", 2)
		eventuallyIn(t, jobs, event, "ops.pay", durable.Dead)
		n, err = jobs.Discard(t.Context(), durable.Selection{EventID: event.EventID()})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		recorded("durable.job_discarded", 1)
		require.Empty(t, statusOf(t, jobs, event.EventID()))
	})
}

// lastLine returns what follows the last colon of an error.
func lastLine(s string) string {
	parts := bytes.Split([]byte(s), []byte(": "))
	return string(parts[len(parts)-1])
}

func TestAPermanentFailureIsRecordedInPlainWords(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus, read := logged(t, h, newRegistry())
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return tidings.Permanent(errors.New("no such client")) },
			tidings.Named("ops.permanent"), tidings.Via(jobs))
		start(t, jobs)
		event := publishAll(t, bus, Accepted{})[0]
		job := eventuallyIn(t, jobs, event, "ops.permanent", durable.Dead)
		died := read("durable.job_died")
		require.Len(t, died, 1)
		require.Equal(t, job.Reason(), aboutOf(died[0]).Reason)
		require.NotContains(t, aboutOf(died[0]).Reason, "JobCancelError")
		require.Equal(t, 1, aboutOf(died[0]).Attempt)
		require.Equal(t, event.EventID(), died[0].CorrelationID(), "the workflow that it began")
	})
}

// The record is there if and only if it happened.
func TestTheRecordIsInTheTransaction(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		typ    string
		change func(*durable.Jobs, context.Context, durable.Selection) (int, error)
	}{
		{"durable.job_retried", (*durable.Jobs).Retry},
		{"durable.job_discarded", (*durable.Jobs).Discard},
	} {
		t.Run(tt.typ, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				bus, read := logged(t, h, newRegistry())
				jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
				fill(t, h, 3, "discarded", time.Now())
				change := func(ctx context.Context, limit int) {
					n, err := tt.change(jobs, ctx, durable.Selection{All: true, Limit: limit})
					require.NoError(t, err)
					require.Equal(t, limit, n)
				}
				err := h.transact(t.Context(), func(ctx context.Context) error {
					change(ctx, 2)
					return errRollBack
				})
				require.ErrorIs(t, err, errRollBack)
				require.Empty(t, read(tt.typ))
				require.Len(t, deadIDs(t, jobs, durable.Selection{}), 3)

				require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
					change(ctx, 1)
					require.Empty(t, read(tt.typ), "not committed yet")
					return nil
				}))
				require.Len(t, read(tt.typ), 1)
				change(t.Context(), 2)
				require.Len(t, read(tt.typ), 3)
				require.Empty(t, deadIDs(t, jobs, durable.Selection{}))
			})
		})
	}
}

// Also one that the program has opened.
func TestTheTransactionOfCtxCounts(t *testing.T) {
	t.Parallel()
	h := openSQL(t)
	jobs := h.jobs(t, river.Config{})
	fill(t, h, 2, "discarded", time.Now())
	err := h.transact(t.Context(), func(ctx context.Context) error {
		n, err := jobs.Retry(ctx, durable.Selection{All: true, Limit: 1})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		n, err = jobs.Discard(ctx, durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, 1, n, "what the transaction has retried is not dead")
		return errRollBack
	})
	require.ErrorIs(t, err, errRollBack)
	require.Len(t, deadIDs(t, jobs, durable.Selection{}), 2)
}

// Who refuses the record refuses what it is about.
func TestAHandlerMayRefuse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus := tidings.New()
		refuse := errors.New("not during the audit")
		var calls int
		second := func() error {
			if calls++; calls%2 == 0 {
				return refuse
			}
			return nil
		}
		tidings.Subscribe(bus, func(context.Context, durable.JobRetried) error { return second() }, tidings.InTransaction)
		tidings.Subscribe(bus, func(context.Context, durable.JobDiscarded) error { return second() }, tidings.InTransaction)
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
		fill(t, h, 2, "discarded", time.Now())
		ids := deadIDs(t, jobs, durable.Selection{})
		n, err := jobs.Retry(t.Context(), durable.Selection{All: true})
		require.ErrorIs(t, err, refuse)
		require.ErrorContains(t, err, fmt.Sprintf("durable: Retry: the job %d: ", ids[1]))
		require.Zero(t, n)
		n, err = jobs.Discard(t.Context(), durable.Selection{All: true})
		require.ErrorIs(t, err, refuse)
		require.ErrorContains(t, err, fmt.Sprintf("durable: Discard: the job %d: ", ids[1]))
		require.Zero(t, n)
		require.Equal(t, ids, deadIDs(t, jobs, durable.Selection{}))
	})
}

// A log that does not know the events says so before anything has changed.
func TestALogThatDoesNotKnowTheEvents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		registry := &tidings.Registry{}
		tidings.Register[Accepted](registry, "crm.accepted", 1)
		bus, _ := logged(t, h, registry)
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
		fill(t, h, 2, "discarded", time.Now())
		n, err := jobs.Discard(t.Context(), durable.Selection{All: true})
		require.ErrorIs(t, err, tidings.ErrUnregistered)
		require.Zero(t, n)
		require.Len(t, deadIDs(t, jobs, durable.Selection{}), 2)
	})
}

// What the message about an unregistered event of this package says, done to
// the letter, is the cure.
func TestTheRemedyForUnregisteredEvents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		registry := &tidings.Registry{} // of the log
		bus, read := logged(t, h, registry)
		out := &lockedBuffer{}
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus), durable.WithLogger(slog.New(slog.NewTextHandler(out, nil))))
		shop := tidings.New()
		tidings.Subscribe(shop, func(context.Context, Accepted) error { return tidings.Permanent(errors.New("broken")) }, tidings.Named("ops.pay"), tidings.Via(jobs))
		start(t, jobs)
		eventuallyIn(t, jobs, publishAll(t, shop, Accepted{})[0], "ops.pay", durable.Dead)
		const remedy = "call durable.Register with the Registry of what stores or sends the events of this bus"
		require.Contains(t, out.String(), "durable: a durable.JobDied is not registered: "+remedy)
		require.NotContains(t, out.String(), "tidings.Register[")
		_, err := jobs.Retry(t.Context(), durable.Selection{All: true})
		require.ErrorContains(t, err, "durable: a durable.JobRetried is not registered: "+remedy)
		require.ErrorIs(t, err, tidings.ErrUnregistered)
		_, err = jobs.Discard(t.Context(), durable.Selection{All: true})
		require.ErrorContains(t, err, "durable: a durable.JobDiscarded is not registered: "+remedy)

		durable.Register(registry)
		_, err = jobs.Retry(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		waitUntil(t, func() bool { return len(read("durable.job_died")) == 1 }, "it has not died again")
		waitUntil(t, func() bool { return len(deadIDs(t, jobs, durable.Selection{})) == 1 }, "it is not dead")
		_, err = jobs.Discard(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Len(t, read("durable.job_retried"), 1)
		require.Len(t, read("durable.job_discarded"), 1)
	})
}

func TestAJobDiedThatNobodyTakesIsReported(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus := tidings.New()
		tidings.Subscribe(bus, func(context.Context, durable.JobDied) error { return errors.New("the pager is off") })
		out := &lockedBuffer{}
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus), durable.WithLogger(slog.New(slog.NewTextHandler(out, nil))))
		shop := tidings.New()
		tidings.Subscribe(shop, func(context.Context, Accepted) error { return errors.New("broken") },
			tidings.Named("ops.pager"), tidings.Via(jobs), tidings.Attempts(1))
		start(t, jobs)
		event := publishAll(t, shop, Accepted{})[0]
		job := eventuallyIn(t, jobs, event, "ops.pager", durable.Dead)
		text := out.String()
		require.Contains(t, text, "level=ERROR")
		require.Contains(t, text, `msg="durable: a job is dead"`)
		require.Contains(t, text, fmt.Sprintf("job_id=%d handler=ops.pager event_id=%s event_type=crm.accepted attempt=1", job.ID, event.EventID()))
		require.Contains(t, text, "correlation_id="+event.CorrelationID().String())
		require.Contains(t, text, `msg="durable: a JobDied could not be published"`)
		require.Contains(t, text, "the pager is off")
	})
}

// The ctx of an attempt that took too long is over when its job dies.
func TestAJobDiesOfATimeout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus, read := logged(t, h, newRegistry())
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
		tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error { <-ctx.Done(); return ctx.Err() },
			tidings.Named("ops.slow"), tidings.Via(jobs), tidings.Attempts(1), tidings.Timeout(50*time.Millisecond))
		start(t, jobs)
		event := publishAll(t, bus, Accepted{})[0]
		eventuallyIn(t, jobs, event, "ops.slow", durable.Dead)
		died := read("durable.job_died")
		require.Len(t, died, 1)
		// The time may be over while a connection is made, which net puts so.
		require.Regexp(t, "deadline exceeded|i/o timeout", aboutOf(died[0]).Reason)
	})
}

// The workflow of an event is known even if the event cannot be decoded.
func TestAJobDiedOfAnUndecodableEvent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus, read := logged(t, h, newRegistry())
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
		shop := tidings.New()
		tidings.Subscribe(shop, ignore[Accepted], tidings.Named("ops.undecodable"), tidings.Via(jobs), tidings.Attempts(1))
		event := publishAll(t, shop, Accepted{})[0]
		set := "jsonb_set(args, '$.dataversion', 7)"
		if h.postgres() {
			set = "jsonb_set(args, '{dataversion}', '7')"
		}
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET args = "+set))
		start(t, jobs)
		job := eventuallyIn(t, jobs, event, "ops.undecodable", durable.Dead)
		require.Nil(t, job.Event)
		died := read("durable.job_died")
		require.Len(t, died, 1)
		require.Equal(t, event.CorrelationID(), died[0].CorrelationID())
		require.Equal(t, event.EventID(), aboutOf(died[0]).EventID)
		require.Contains(t, aboutOf(died[0]).Reason, "cannot be decoded")
	})
}

// A handler that retries others is their cause.
func TestRetryInAHandlerNamesItsCause(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus, read := logged(t, h, newRegistry())
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
		shop := tidings.New()
		tidings.Subscribe(shop, ignore[Accepted], tidings.Named("ops.retried"), tidings.Via(jobs), durable.Queue("nobody"))
		dead := publishAll(t, shop, Accepted{})[0]
		kill(t, h, "1 = 1", time.Now())
		tidings.Subscribe(shop, func(ctx context.Context, _ Created) error {
			_, err := jobs.Retry(ctx, durable.Selection{EventID: dead.EventID()})
			return err
		}, tidings.Named("ops.retrier"), tidings.Via(jobs))
		start(t, jobs)
		cause := publishAll(t, shop, Created{})[0]
		eventuallyIn(t, jobs, cause, "ops.retrier", durable.Done)
		retried := read("durable.job_retried")
		require.Len(t, retried, 1)
		require.Equal(t, cause.EventID(), retried[0].CausationID())
		require.Equal(t, dead.CorrelationID(), retried[0].CorrelationID())
	})
}

// A lockedBuffer is written and read by several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
