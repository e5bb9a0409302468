package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// waitUntil waits until check returns true, against a real database.
func waitUntil(t testing.TB, check func() bool, what string) {
	t.Helper()
	require.Eventually(t, check, time.Minute, 20*time.Millisecond, what)
}

// statusOf returns the jobs of an event, by handler.
func statusOf(t testing.TB, jobs *durable.Jobs, id uuid.UUID) map[string]durable.Job {
	t.Helper()
	list, err := jobs.Status(t.Context(), id)
	require.NoError(t, err)
	by := map[string]durable.Job{}
	for _, job := range list {
		by[job.Handler] = job
	}
	require.Len(t, by, len(list), "one job for each handler")
	return by
}

// eventuallyIn waits until the event's job for handler is in a state, and
// returns it.
func eventuallyIn(t testing.TB, jobs *durable.Jobs, event tidings.Event, handler string, state durable.State) (job durable.Job) {
	t.Helper()
	waitUntil(t, func() bool {
		job = statusOf(t, jobs, event.EventID())[handler]
		return job.State == state
	}, fmt.Sprintf("%s is not %s", handler, state))
	return job
}

// publishAll publishes stamped events and returns them.
func publishAll[E tidings.Event](t testing.TB, bus *tidings.EventBus, events ...E) []E {
	t.Helper()
	for i := range events {
		events[i] = tidings.Stamp(t.Context(), events[i])
		require.NoError(t, tidings.Publish(t.Context(), bus, events[i]))
	}
	return events
}

func ignore[E tidings.Event](context.Context, E) error { return nil }

func TestStatusSaysWhatBecameOfAnEvent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		began := time.Now().Add(-time.Second)
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.done"), tidings.Via(jobs))
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return tidings.Permanent(errors.New("no such client")) },
			tidings.Named("ops.dead"), tidings.Via(jobs), tidings.Attempts(7))
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return tidings.RetryAfter(errors.New("try later"), time.Hour) },
			tidings.Named("ops.retrying"), tidings.Via(jobs))
		tidings.Subscribe(bus, func(context.Context, Accepted) error {
			return tidings.RetryAfter(errors.New("try soon"), 2*time.Second)
		},
			tidings.Named("ops.retrying_soon"), tidings.Via(jobs), tidings.Attempts(1000))
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.waiting"), tidings.Via(jobs), durable.Queue("nobody"))
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.ordered"),
			tidings.Via(jobs), durable.Queue("nobody"), durable.InOrderBy(func(e Accepted) string { return e.Number }))
		release := make(chan struct{})
		tidings.Subscribe(bus, func(context.Context, Accepted) error { <-release; return nil },
			tidings.Named("ops.running"), tidings.Via(jobs), durable.Outside())
		defer close(release)

		events := publishAll(t, bus, Accepted{Number: "1", Total: 1}, Accepted{Number: "1", Total: 2})
		start(t, jobs)
		wanted := map[string]durable.State{
			"ops.done": durable.Done, "ops.dead": durable.Dead, "ops.retrying": durable.Retrying, "ops.retrying_soon": durable.Retrying,
			"ops.waiting": durable.Waiting, "ops.ordered": durable.Held, "ops.running": durable.Running,
		}
		for handler, state := range wanted {
			job := eventuallyIn(t, jobs, events[1], handler, state)
			require.Equal(t, events[1].EventID(), job.EventID)
			require.Equal(t, "crm.accepted", job.EventType)
			require.Equal(t, events[1], job.Event, "of this event, with its header")
			require.True(t, json.Valid(job.Data))
			require.WithinRange(t, job.StoredAt, began, time.Now().Add(time.Second))
			require.Equal(t, time.UTC, job.StoredAt.Location())
			require.Positive(t, job.ID)
		}
		require.Equal(t, durable.Waiting, statusOf(t, jobs, events[0].EventID())["ops.ordered"].State, "the first in line")

		by := statusOf(t, jobs, events[1].EventID())
		require.Len(t, by, len(wanted), "and no others")
		done, dead, retrying := by["ops.done"], by["ops.dead"], by["ops.retrying"]
		require.Equal(t, 1, done.Attempt)
		require.WithinRange(t, done.EndedAt, began, time.Now().Add(time.Second))
		require.Empty(t, done.Failures)
		require.Empty(t, done.Reason())
		require.Equal(t, 1, dead.Attempt)
		require.Equal(t, 7, dead.MaxAttempts)
		require.WithinRange(t, dead.EndedAt, began, time.Now().Add(time.Second))
		require.Contains(t, dead.Reason(), "no such client")
		require.NotContains(t, dead.Reason(), "JobCancelError", "a word of River's")
		require.Equal(t, 1, retrying.Attempt)
		require.True(t, retrying.EndedAt.IsZero())
		require.WithinDuration(t, time.Now().Add(time.Hour), retrying.DueAt, time.Minute)
		require.Len(t, retrying.Failures, 1)
		require.Contains(t, retrying.Reason(), "try later")
		require.WithinRange(t, retrying.Failures[0].At, began, time.Now().Add(time.Second))
		require.Equal(t, 1, retrying.Failures[0].Attempt)
		require.Equal(t, "nobody", by["ops.waiting"].Queue)
		require.Equal(t, river.QueueDefault, done.Queue)
		require.Equal(t, "1", by["ops.ordered"].Key)
		require.Empty(t, done.Key)

		list, err := jobs.Status(t.Context(), events[0].EventID())
		require.NoError(t, err)
		require.Len(t, list, len(wanted))
		for i := range list[1:] {
			require.Less(t, list[i].ID, list[i+1].ID, "in the order of their IDs")
		}
		none, err := jobs.Status(t.Context(), uuid.New())
		require.NoError(t, err)
		require.Empty(t, none)
	})
}

// foreign stores a job of the application's own, and returns its ID.
func foreign(t testing.TB, h harness, state string, args string) int {
	t.Helper()
	json, ended := "jsonb($1)", "NULL"
	if h.postgres() {
		json = "$1::text::jsonb"
	}
	switch state {
	case "completed", "cancelled", "discarded":
		ended = "'2020-01-02 03:04:05.000'"
	}
	require.NoError(t, h.exec(t.Context(), "INSERT INTO river_job (kind, args, max_attempts, queue, state, finalized_at) VALUES ('app.own', "+json+", 3, 'app', '"+state+"', "+ended+")", args))
	return h.count(t, "SELECT max(id) FROM river_job")
}

func TestJobsOfTheApplicationAreNotOurs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		id := uuid.New()
		var dead []int64
		for _, args := range []string{fmt.Sprintf(`{"id":%q,"type":"crm.accepted","specversion":null}`, id), `{}`, `[]`, `1`, `"specversion"`, `["specversion"]`} {
			for _, state := range []string{"cancelled", "discarded"} {
				dead = append(dead, int64(foreign(t, h, state, args)))
			}
			foreign(t, h, "available", args)
			foreign(t, h, "completed", args)
		}
		before := h.count(t, "SELECT count(*) FROM river_job WHERE state IN ('cancelled', 'discarded')")
		require.Len(t, dead, before)

		list, err := jobs.Status(t.Context(), id)
		require.NoError(t, err)
		require.Empty(t, list)
		counts, err := jobs.Counts(t.Context())
		require.NoError(t, err)
		require.Empty(t, counts)
		for _, selected := range []durable.Selection{{All: true}, {JobIDs: dead}, {EventID: id}, {EventType: "crm.accepted"}, {Handler: "app.own"}} {
			list, err := jobs.Dead(t.Context(), selected)
			require.NoError(t, err)
			require.Empty(t, list)
			n, err := jobs.Retry(t.Context(), selected)
			require.NoError(t, err)
			require.Zero(t, n)
			n, err = jobs.Discard(t.Context(), selected)
			require.NoError(t, err)
			require.Zero(t, n)
		}
		n, err := jobs.Purge(t.Context(), time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, before, h.count(t, "SELECT count(*) FROM river_job WHERE state IN ('cancelled', 'discarded')"))
		require.Equal(t, 2*before, h.count(t, "SELECT count(*) FROM river_job"))
	})
}

// A transaction sees what it has done, and nobody else does.
func TestReadsAreInTheTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.read"), tidings.Via(jobs))
		event := publishAll(t, bus, Accepted{Number: "1"})[0]
		kill(t, h, "1 = 1", time.Now())
		err := h.transact(t.Context(), func(ctx context.Context) error {
			require.NoError(t, h.exec(ctx, "UPDATE river_job SET state = 'available', finalized_at = NULL"))
			list, err := jobs.Status(ctx, event.EventID())
			require.NoError(t, err)
			require.Equal(t, durable.Retrying, list[0].State)
			dead, err := jobs.Dead(ctx, durable.Selection{})
			require.NoError(t, err)
			require.Empty(t, dead)
			counts, err := jobs.Counts(ctx)
			require.NoError(t, err)
			require.Equal(t, map[string]durable.Counts{"ops.read": {Retrying: 1}}, counts)

			// From outside.
			require.Equal(t, durable.Dead, statusOf(t, jobs, event.EventID())["ops.read"].State)
			return errors.New("roll back")
		})
		require.EqualError(t, err, "roll back")
		dead, err := jobs.Dead(t.Context(), durable.Selection{})
		require.NoError(t, err)
		require.Len(t, dead, 1)
	})
}

func TestReadsRefuseATransactionTheyCannotSee(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	jobs := h.jobs(t, river.Config{})
	ctx, hook := tidings.NewTxHook(t.Context(), h.sql)
	defer hook.Rollback(ctx)
	_, err := jobs.Status(ctx, uuid.New())
	require.ErrorContains(t, err, "durable: Status of the event ")
	require.ErrorContains(t, err, "tidings.WithTx")
	_, err = jobs.Counts(ctx)
	require.ErrorContains(t, err, "durable: Counts: ")
	_, err = jobs.Dead(ctx, durable.Selection{})
	require.ErrorContains(t, err, "durable: Dead: ")
	_, err = jobs.Retry(ctx, durable.Selection{All: true})
	require.ErrorContains(t, err, "durable: Retry: ")
	_, err = jobs.Discard(ctx, durable.Selection{All: true})
	require.ErrorContains(t, err, "durable: Discard: ")
	_, err = jobs.Purge(ctx, time.Now())
	require.ErrorContains(t, err, "durable: Purge: ")
}

func TestAnIndexServesStatus(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		query, args := durable.StatusQuery(jobs, uuid.New())
		if !h.postgres() {
			var id, parent, unused int
			var detail string
			require.NoError(t, h.sql.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...).Scan(&id, &parent, &unused, &detail))
			require.Contains(t, detail, "USING INDEX tidings_job_event")
			return
		}
		conn, err := h.pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
		_, err = conn.Exec(t.Context(), "SET enable_seqscan = off")
		require.NoError(t, err)
		rows, err := conn.Query(t.Context(), "EXPLAIN "+query, args...)
		require.NoError(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(lines), "river_job_args_index")
		_, err = conn.Exec(t.Context(), "RESET enable_seqscan")
		require.NoError(t, err)
	})
}
