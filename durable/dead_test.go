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

var errRollBack = errors.New("roll back")

// kill has jobs die without a worker, at a time.
func kill(t testing.TB, h harness, where string, at time.Time) {
	t.Helper()
	errs := `jsonb('[{"at":"2026-01-02T03:04:05Z","attempt":1,"error":"killed","trace":""}]')`
	if h.postgres() {
		errs = `ARRAY['{"at":"2026-01-02T03:04:05Z","attempt":1,"error":"killed","trace":""}'::jsonb]`
	}
	require.NoError(t, h.exec(t.Context(), fmt.Sprintf("UPDATE river_job SET state = 'discarded', attempt = 1, finalized_at = '%s', errors = %s WHERE %s",
		at.UTC().Format("2006-01-02 15:04:05.000"), errs, where)))
}

// fill stores n jobs in a state; where that is an end, each has it a
// millisecond after the one before, the first one at that time.
func fill(t testing.TB, h harness, n int, state string, at time.Time) {
	t.Helper()
	args := `{"specversion":"1.0","id":"019aa0a0-0000-7000-8000-000000000001","type":"crm.accepted"}`
	ended := "NULL"
	first := at.UTC().Format("2006-01-02 15:04:05.000")
	query := "WITH RECURSIVE numbers (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < %d) " +
		"INSERT INTO river_job (kind, args, max_attempts, state, finalized_at) SELECT 'ops.filled', jsonb('%s'), 3, '%s', %s FROM numbers"
	if state != "available" {
		ended = "strftime('%Y-%m-%d %H:%M:%f', '" + first + "', '+' || (i / 1000.0) || ' seconds')"
	}
	if h.postgres() {
		query = "INSERT INTO river_job (kind, args, max_attempts, state, finalized_at) SELECT 'ops.filled', '%[2]s', 3, '%[3]s', %[4]s FROM generate_series(0, %[1]d - 1) AS i"
		if state != "available" {
			ended = "'" + first + "+00'::timestamptz + i * interval '1 millisecond'"
		}
	}
	require.NoError(t, h.exec(t.Context(), fmt.Sprintf(query, n, args, state, ended)))
}

// deadIDs returns the IDs of the dead jobs of a selection.
func deadIDs(t testing.TB, jobs *durable.Jobs, selected durable.Selection) []int64 {
	t.Helper()
	dead, err := jobs.Dead(t.Context(), selected)
	require.NoError(t, err)
	ids := []int64{}
	for _, job := range dead {
		require.Equal(t, durable.Dead, job.State)
		ids = append(ids, job.ID)
	}
	return ids
}

func TestSelections(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.a"), tidings.Via(jobs))
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.b"), tidings.Via(jobs))
		tidings.Subscribe(bus, ignore[Created], tidings.Named("ops.c"), tidings.Via(jobs))
		accepted := publishAll(t, bus, Accepted{Number: "1"}, Accepted{Number: "2"})
		created := publishAll(t, bus, Created{Client: "x"})
		publishAll(t, bus, Created{Client: "alive"})
		id := func(e tidings.Event, handler string) int64 { return statusOf(t, jobs, e.EventID())[handler].ID }
		a1, b1 := id(accepted[0], "ops.a"), id(accepted[0], "ops.b")
		a2, b2 := id(accepted[1], "ops.a"), id(accepted[1], "ops.b")
		c := id(created[0], "ops.c")
		// Not in the order of their IDs, and two at the same time.
		at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		for i, ids := range [][]int64{{c}, {b2}, {a1, a2}, {b1}} {
			for _, id := range ids {
				kill(t, h, fmt.Sprint("id = ", id), at.Add(time.Duration(i)*time.Second))
			}
		}
		require.NoError(t, h.exec(t.Context(), fmt.Sprint("UPDATE river_job SET state = 'cancelled' WHERE id = ", a1)))

		for _, tt := range []struct {
			name     string
			selected durable.Selection
			want     []int64
		}{
			{"zero", durable.Selection{}, []int64{c, b2, a1, a2, b1}},
			{"all", durable.Selection{All: true}, []int64{c, b2, a1, a2, b1}},
			{"ids", durable.Selection{JobIDs: []int64{b1, c, b1, -1, 1 << 60}}, []int64{c, b1}},
			{"no ids", durable.Selection{JobIDs: []int64{}}, []int64{}},
			{"handler", durable.Selection{Handler: "ops.a"}, []int64{a1, a2}},
			{"no such handler", durable.Selection{Handler: "ops"}, []int64{}},
			{"event", durable.Selection{EventID: accepted[1].EventID()}, []int64{b2, a2}},
			{"type", durable.Selection{EventType: "clients.created"}, []int64{c}},
			{"before", durable.Selection{Before: at.Add(2 * time.Second)}, []int64{c, b2}},
			{"just after", durable.Selection{Before: at.Add(2*time.Second + time.Millisecond)}, []int64{c, b2, a1, a2}},
			{"in another zone", durable.Selection{Before: at.Add(2 * time.Second).In(time.FixedZone("x", 5*3600))}, []int64{c, b2}},
			{"limit", durable.Selection{Limit: 3}, []int64{c, b2, a1}},
			{"high limit", durable.Selection{Limit: 300}, []int64{c, b2, a1, a2, b1}},
			{"several", durable.Selection{Handler: "ops.b", EventType: "crm.accepted", Before: at.Add(time.Hour), Limit: 1, All: true}, []int64{b2}},
			{"all with another", durable.Selection{Handler: "ops.a", EventID: accepted[0].EventID(), All: true}, []int64{a1}},
			{"nothing meets all", durable.Selection{Handler: "ops.c", EventType: "crm.accepted"}, []int64{}},
			{"not SQL", durable.Selection{Handler: "' OR 1=1 --", EventType: `\`}, []int64{}},
		} {
			require.Equal(t, tt.want, deadIDs(t, jobs, tt.selected), tt.name)
			tt.selected.All = true // for "zero" and "limit"
			for name, change := range map[string]func(context.Context, durable.Selection) (int, error){"retry": jobs.Retry, "discard": jobs.Discard} {
				err := h.transact(t.Context(), func(ctx context.Context) error {
					n, err := change(ctx, tt.selected)
					require.NoError(t, err)
					require.Equal(t, len(tt.want), n, "%s %s", name, tt.name)
					left, err := jobs.Dead(ctx, durable.Selection{})
					require.NoError(t, err)
					for _, job := range left {
						require.NotContains(t, tt.want, job.ID, "%s %s", name, tt.name)
					}
					require.Len(t, left, 5-n, "%s %s", name, tt.name)
					return errRollBack
				})
				require.ErrorIs(t, err, errRollBack)
			}
		}
		require.Len(t, deadIDs(t, jobs, durable.Selection{}), 5, "all was rolled back")
	})
}

func TestRetryAndDiscardRefuseSelectionsThatMayBeMistakes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		fill(t, h, 3, "discarded", time.Now())
		for _, selected := range []durable.Selection{{}, {Limit: 2}} {
			_, err := jobs.Retry(t.Context(), selected)
			require.EqualError(t, err, "durable: Retry: the Selection is empty: set All to mean every dead job")
			_, err = jobs.Discard(t.Context(), selected)
			require.EqualError(t, err, "durable: Discard: the Selection is empty: set All to mean every dead job")
		}
		_, err := jobs.Dead(t.Context(), durable.Selection{Limit: -1})
		require.EqualError(t, err, "durable: Dead: the Limit -1 is negative: 0 is none")
		_, err = jobs.Retry(t.Context(), durable.Selection{All: true, Limit: -2})
		require.EqualError(t, err, "durable: Retry: the Limit -2 is negative: 0 is none")
		_, err = jobs.Discard(t.Context(), durable.Selection{All: true, Limit: -2})
		require.ErrorContains(t, err, "durable: Discard: ")
		require.Len(t, deadIDs(t, jobs, durable.Selection{}), 3)
	})
}

// More than are read, and changed, at once.
func TestManyDeadJobs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		skipSlow(t, h)
		jobs := h.jobs(t, river.Config{})
		at := time.Now().Add(-time.Hour)
		fill(t, h, 900, "discarded", at)
		fill(t, h, 1300, "cancelled", at.Add(100*time.Millisecond)) // between them
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET finalized_at = (SELECT finalized_at FROM river_job WHERE id = 950) WHERE id > 950 AND id < 1400"))

		dead, err := jobs.Dead(t.Context(), durable.Selection{})
		require.NoError(t, err)
		require.Len(t, dead, 2200)
		for i := range dead[1:] {
			a, b := dead[i], dead[i+1]
			if !a.EndedAt.Equal(b.EndedAt) {
				require.True(t, a.EndedAt.Before(b.EndedAt))
			} else {
				require.Less(t, a.ID, b.ID)
			}
		}
		require.Equal(t, deadIDs(t, jobs, durable.Selection{})[:1000], deadIDs(t, jobs, durable.Selection{Limit: 1000}), "just a page")
		require.Equal(t, deadIDs(t, jobs, durable.Selection{})[:1001], deadIDs(t, jobs, durable.Selection{Limit: 1001}))

		n, err := jobs.Retry(t.Context(), durable.Selection{All: true, Limit: 1201})
		require.NoError(t, err)
		require.Equal(t, 1201, n)
		left := deadIDs(t, jobs, durable.Selection{})
		require.Len(t, left, 999)
		require.Equal(t, dead[1201].ID, left[0], "the oldest went first")
		n, err = jobs.Discard(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, 999, n)
		counts, err := jobs.Counts(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]durable.Counts{"ops.filled": {Waiting: 1201}}, counts)
	})
}

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
		}, tidings.Named("ops.mended"), tidings.Via(jobs.With(durable.Attempts(1))))
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
			tidings.Named("ops.policy"), tidings.Via(jobs.With(durable.Attempts(25))))
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
				return durable.RetryAfter(errors.New("once more"), 0)
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
						return durable.Permanent(errors.New("the first one"))
					}
					return nil
				}, tidings.Named("ops.line"), tidings.Via(jobs.With(durable.InOrderBy(func(e Accepted) string { return e.Number }))))
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
			tidings.Via(jobs.With(durable.InOrderBy(func(e Accepted) string { return e.Number }))))
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
			tidings.Via(jobs.With(durable.InOrderBy(func(e Accepted) string { return e.Number }))))
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
		tidings.Subscribe(bus, ignore[Accepted], tidings.Named("ops.known"), tidings.Via(jobs.With(durable.Attempts(1))))
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
	for name, config := range map[string]river.Config{
		"unset":  {CompletedJobRetentionPeriod: time.Minute},
		"as set": {CompletedJobRetentionPeriod: time.Minute, DiscardedJobRetentionPeriod: -1, CancelledJobRetentionPeriod: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				jobs := h.jobs(t, config)
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
