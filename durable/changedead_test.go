package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// A handler dies, is mended, and its job retried, by workers that do not look
// for work unless they are told.
func TestRetryRunsAtOnceWithAllAttempts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{FetchCooldown: 5 * time.Millisecond, FetchPollInterval: time.Hour})
		bus := tidings.New()
		var mended atomic.Bool
		tidings.Subscribe(bus, func(context.Context, Accepted) error {
			if !mended.Load() {
				return errors.New("broken")
			}
			return nil
		}, tidings.Named("ops.mended"), tidings.Via(jobs), tidings.Attempts(1))
		start(t, jobs)
		event := publishAll(t, bus, Accepted{})[0]
		dead := eventuallyIn(t, jobs, event, "ops.mended", durable.Dead)
		mended.Store(true)
		n, err := jobs.Retry(t.Context(), durable.Selection{JobIDs: []int64{dead.ID}})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		done := eventuallyIn(t, jobs, event, "ops.mended", durable.Done)
		require.Equal(t, 1, done.Attempt, "counted from the start again")
		require.Equal(t, 1, done.MaxAttempts)
		require.Equal(t, dead.Failures, done.Failures)
		n, err = jobs.Retry(t.Context(), durable.Selection{JobIDs: []int64{dead.ID}})
		require.NoError(t, err)
		require.Zero(t, n, "it is done")
		n, err = jobs.Discard(t.Context(), durable.Selection{JobIDs: []int64{dead.ID}})
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// River's own policy counts failures, and they stay with the job.
func TestRetryBeginsAgainWithShortWaits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return errors.New("broken") },
			tidings.Named("ops.policy"), tidings.Via(jobs), tidings.Attempts(25))
		event := publishAll(t, bus, Accepted{})[0]
		kill(t, h, "1 = 1", time.Now())
		errs := "jsonb('[' || substr(replace(hex(zeroblob(24)), '00', ',' || json(errors -> '$[0]')), 2) || ']')"
		if h.postgres() {
			errs = "array_fill(errors[1], ARRAY[24])"
		}
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET errors = "+errs))
		require.Len(t, statusOf(t, jobs, event.EventID())["ops.policy"].Failures, 24)
		n, err := jobs.Retry(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		start(t, jobs)
		var job durable.Job
		waitUntil(t, func() bool {
			job = statusOf(t, jobs, event.EventID())["ops.policy"]
			return len(job.Failures) > 24 && job.State == durable.Retrying
		}, "it does not fail again")
		require.Less(t, time.Until(job.DueAt), time.Minute, "and not the fourth power of 25 in seconds")
	})
}

// What River notes for a job that is cancelled would cancel it again at its
// first failure.
func TestRetryOfAJobThatWasCancelled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs, client := h.jobsAndClient(t, river.Config{})
		bus := tidings.New()
		var calls atomic.Int32
		tidings.Subscribe(bus, func(context.Context, Accepted) error {
			if calls.Add(1) == 1 {
				return tidings.RetryAfter(errors.New("once more"), 0)
			}
			return nil
		}, tidings.Named("ops.cancelled"), tidings.Via(jobs))
		event := publishAll(t, bus, Accepted{})[0]
		_, err := client.JobCancel(t.Context(), statusOf(t, jobs, event.EventID())["ops.cancelled"].ID)
		require.NoError(t, err)
		dead, err := jobs.Dead(t.Context(), durable.Selection{EventID: event.EventID()})
		require.NoError(t, err)
		require.Len(t, dead, 1)
		require.Empty(t, dead[0].Reason())
		n, err := jobs.Retry(t.Context(), durable.Selection{EventID: event.EventID()})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		start(t, jobs)
		require.Len(t, eventuallyIn(t, jobs, event, "ops.cancelled", durable.Done).Failures, 1)
	})
}

func TestTheNextInLineGoesOn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*durable.Jobs, context.Context, durable.Selection) (int, error)
		want   []int64
	}{
		{"retry", (*durable.Jobs).Retry, []int64{1, 1, 2, 3}},
		{"discard", (*durable.Jobs).Discard, []int64{1, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				jobs := h.jobs(t, river.Config{FetchCooldown: 5 * time.Millisecond, FetchPollInterval: time.Hour})
				bus := tidings.New()
				var mu sync.Mutex
				var ran []int64
				tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
					mu.Lock()
					defer mu.Unlock()
					ran = append(ran, e.Total)
					if len(ran) == 1 {
						return tidings.Permanent(errors.New("the first one"))
					}
					return nil
				}, tidings.Named("ops.line"), tidings.Via(jobs), durable.InOrderBy(func(e Accepted) string { return e.Number }))
				start(t, jobs)
				events := publishAll(t, bus, Accepted{Number: "k", Total: 1}, Accepted{Number: "k", Total: 2}, Accepted{Number: "k", Total: 3})
				eventuallyIn(t, jobs, events[0], "ops.line", durable.Dead)
				require.Equal(t, durable.Held, statusOf(t, jobs, events[1].EventID())["ops.line"].State)
				n, err := tt.change(jobs, t.Context(), durable.Selection{Handler: "ops.line"})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				eventuallyIn(t, jobs, events[2], "ops.line", durable.Done)
				mu.Lock()
				defer mu.Unlock()
				require.Equal(t, tt.want, ran)
			})
		})
	}
}

// A job that was cancelled by hand in the middle of its line goes back to its
// place, and does not overtake.
func TestRetryDoesNotOvertake(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs, client := h.jobsAndClient(t, river.Config{})
		bus := tidings.New()
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.place"),
			tidings.Via(jobs), durable.InOrderBy(func(e Accepted) string { return e.Number }))
		events := publishAll(t, bus, Accepted{Number: "k", Total: 1}, Accepted{Number: "k", Total: 2}, Accepted{Number: "k", Total: 3}, Accepted{Number: "other"})
		states := func() (list []durable.State) {
			for _, e := range events {
				list = append(list, statusOf(t, jobs, e.EventID())["ops.place"].State)
			}
			return list
		}
		_, err := client.JobCancel(t.Context(), statusOf(t, jobs, events[1].EventID())["ops.place"].ID)
		require.NoError(t, err)
		require.Equal(t, []durable.State{durable.Waiting, durable.Dead, durable.Held, durable.Waiting}, states())
		_, err = jobs.Retry(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, []durable.State{durable.Waiting, durable.Held, durable.Held, durable.Waiting}, states())

		// The head and the one behind it, at once.
		for _, e := range events[:2] {
			_, err = client.JobCancel(t.Context(), statusOf(t, jobs, e.EventID())["ops.place"].ID)
			require.NoError(t, err)
		}
		require.Equal(t, []durable.State{durable.Dead, durable.Dead, durable.Held, durable.Waiting}, states())
		_, err = jobs.Discard(t.Context(), durable.Selection{All: true, Limit: 1})
		require.NoError(t, err)
		list, err := jobs.Status(t.Context(), events[0].EventID())
		require.NoError(t, err)
		require.Empty(t, list)
		require.Equal(t, []durable.State{durable.Dead, durable.Held, durable.Waiting}, states()[1:], "the one behind it is dead")
		_, err = jobs.Discard(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, []durable.State{durable.Waiting, durable.Waiting}, states()[2:])
	})
}

// Several at once, whose selections overlap, change each job once, and none
// waits for another that waits for it.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus := tidings.New()
		var mu sync.Mutex
		told := map[int64]int{}
		tell := func(id int64) error {
			mu.Lock()
			defer mu.Unlock()
			told[id]++
			return nil
		}
		tidings.Subscribe(bus, func(_ context.Context, e durable.JobRetried) error { return tell(e.Job.JobID) })
		tidings.Subscribe(bus, func(_ context.Context, e durable.JobDiscarded) error { return tell(e.Job.JobID) })
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))

		shop := tidings.New()
		tidings.Subscribe(shop, ignore[Accepted], tidings.Named("ops.line"),
			tidings.Via(jobs), durable.InOrderBy(func(e Accepted) string { return e.Number }))
		for i := range 40 {
			publishAll(t, shop, Accepted{Number: fmt.Sprint(i % 20)})
		}
		at := time.Now().Add(-time.Hour)
		kill(t, h, "kind = 'ops.line'", at)
		fill(t, h, 1200, "discarded", at.Add(-600*time.Millisecond))
		ids := deadIDs(t, jobs, durable.Selection{})
		slices.Reverse(ids)

		var n atomic.Int64
		var wait sync.WaitGroup
		errs := make(chan error, 100)
		for _, call := range []struct {
			change   func(context.Context, durable.Selection) (int, error)
			selected durable.Selection
		}{
			{jobs.Retry, durable.Selection{All: true}},
			{jobs.Retry, durable.Selection{All: true}},
			{jobs.Discard, durable.Selection{All: true, Limit: 900}},
			{jobs.Discard, durable.Selection{JobIDs: ids}},
			{jobs.Retry, durable.Selection{Handler: "ops.line"}},
			{jobs.Discard, durable.Selection{Handler: "ops.line"}},
			{jobs.Discard, durable.Selection{EventType: "crm.accepted"}},
		} {
			wait.Go(func() {
				changed, err := call.change(t.Context(), call.selected)
				n.Add(int64(changed))
				errs <- err
			})
		}
		wait.Wait()
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
		require.EqualValues(t, 1240, n.Load())
		require.Len(t, told, 1240)
		for id, times := range told {
			require.Equal(t, 1, times, "the job %d", id)
		}
		require.Empty(t, deadIDs(t, jobs, durable.Selection{}))
	})
}

// One that is no longer dead when another has finished with it is not changed.
func TestRetryWaitsForAnother(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		fill(t, h, 3, "discarded", time.Now())
		ids := deadIDs(t, jobs, durable.Selection{})
		began := make(chan struct{})
		counted := make(chan int, 1)
		err := h.transact(t.Context(), func(ctx context.Context) error {
			n, err := jobs.Retry(ctx, durable.Selection{JobIDs: ids[:1]})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			n, err = jobs.Discard(ctx, durable.Selection{JobIDs: ids[1:2]})
			require.NoError(t, err)
			require.Equal(t, 1, n)
			go func() {
				close(began)
				n, err := jobs.Retry(context.WithoutCancel(t.Context()), durable.Selection{All: true})
				if err != nil {
					n = -1
				}
				counted <- n
			}()
			<-began
			if h.postgres() { // until it waits for the row
				waitUntil(t, func() bool {
					return h.count(t, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE '%FOR UPDATE%')") > 0
				}, "nobody waits")
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 1, <-counted)
	})
}

// What nobody can run is there to be seen.
func TestDeadJobsThatNobodyCanRun(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.known"), tidings.Via(jobs), tidings.Attempts(1))
		events := publishAll(t, bus, Accepted{Number: "no handler"}, Accepted{Number: "no type"}, Accepted{Number: "no data"})
		json := "jsonb_set(args, '$.%s', jsonb('%s'))"
		if h.postgres() {
			json = "jsonb_set(args, '{%s}', '%s')"
		}
		for i, set := range []string{
			"kind = 'ops.gone'",
			"args = " + fmt.Sprintf(json, "type", `"crm.gone"`),
			"args = " + fmt.Sprintf(json, "data", `"no object"`),
		} {
			require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET "+set+" WHERE args ->> 'id' = $1", events[i].EventID().String()))
		}
		start(t, jobs)
		waitUntil(t, func() bool { return len(deadIDs(t, jobs, durable.Selection{})) == 3 }, "not all are dead")
		for i, want := range []struct {
			handler, typ, reason string
			decoded              bool
		}{
			{"ops.gone", "crm.accepted", "ops.gone", true},
			{"ops.known", "crm.gone", `durable: the event for "ops.known" cannot be decoded`, false},
			{"ops.known", "crm.accepted", `durable: the event for "ops.known" cannot be decoded`, false},
		} {
			dead, err := jobs.Dead(t.Context(), durable.Selection{EventID: events[i].EventID()})
			require.NoError(t, err)
			require.Len(t, dead, 1)
			job := dead[0]
			require.Equal(t, want.handler, job.Handler)
			require.Equal(t, want.typ, job.EventType)
			require.Equal(t, events[i].EventID(), job.EventID)
			if i > 0 {
				require.Contains(t, job.Reason(), want.reason)
			} else {
				require.NotEmpty(t, job.Reason())
			}
			require.Contains(t, string(job.Data), events[i].EventID().String())
			require.Equal(t, want.decoded, job.Event != nil)
			n, err := jobs.Discard(t.Context(), durable.Selection{EventID: events[i].EventID()})
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
	})
}

// What is done is deleted by River, what is dead is not, with what Configure
// sets and with what an application may set itself.
func TestRiverDeletesWhatIsDoneAndKeepsTheDead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config river.Config
	}{
		{"unset", river.Config{CompletedJobRetentionPeriod: 30 * time.Minute}},
		{"as set", river.Config{CompletedJobRetentionPeriod: 30 * time.Minute, DiscardedJobRetentionPeriod: -1, CancelledJobRetentionPeriod: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				jobs := h.jobs(t, tt.config)
				tidings.Subscribe(tidings.New(), ignore[Accepted], tidings.Named("ops.idle"), tidings.Via(jobs)) // River asks for a worker
				ages := time.Now().AddDate(-20, 0, 0)
				fill(t, h, 3, "discarded", ages)
				fill(t, h, 4, "cancelled", ages)
				fill(t, h, 5, "completed", time.Now().Add(-time.Hour))
				fill(t, h, 6, "completed", time.Now().Add(-time.Second))
				start(t, jobs)
				waitUntil(t, func() bool {
					counts, err := jobs.Counts(t.Context())
					require.NoError(t, err)
					return counts["ops.filled"].Done == 6
				}, "River's cleaner has not run")
				counts, err := jobs.Counts(t.Context())
				require.NoError(t, err)
				require.Equal(t, durable.Counts{Done: 6, Dead: 7}, counts["ops.filled"])
			})
		})
	}
}
