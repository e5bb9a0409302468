package durable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// tick does what the workers do every minute.
func tick(t testing.TB, jobs *durable.Jobs) {
	t.Helper()
	ticks := make(chan time.Time)
	over, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		jobs.RepairUntil(over, ticks)
	}()
	ticks <- time.Now()
	ticks <- time.Now() // taken when the first one is worked
	end()
	<-ended
}

// cancels is an error handler of the application that gives a job up.
type cancels struct{}

func (cancels) HandleError(_ context.Context, _ *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	return &river.ErrorHandlerResult{SetCancelled: strings.Contains(err.Error(), "hopeless")}
}

func (cancels) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	return &river.ErrorHandlerResult{SetCancelled: true}
}

// However a job dies it is made known, once.
func TestEveryDeathIsKnown(t *testing.T) {
	t.Parallel()
	errHopeless := errors.New("hopeless")
	running := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tt := range []struct {
		name   string
		handle func(context.Context) error
		kill   func(t *testing.T, h harness, c client, id int64) // nil: the handler does
		state  string
		level  string
		want   string
	}{
		{"by the error handler", func(context.Context) error { return errHopeless }, nil, "cancelled", "ERROR", "hopeless"},
		{"by the error handler, of a panic", func(context.Context) error { panic(errHopeless) }, nil, "cancelled", "ERROR", "hopeless"},
		{"by the handler", func(context.Context) error { return river.JobCancel(errOnPurpose) }, nil, "cancelled", "ERROR", "on purpose"},
		{"while it waits", nil, func(t *testing.T, _ harness, c client, id int64) {
			_, err := c.JobCancel(t.Context(), id)
			require.NoError(t, err)
		}, "cancelled", "WARN", "cancelled through River"},
		{"while it runs", running, func(t *testing.T, h harness, c client, id int64) {
			awaitJobs(t, h, 1, "state = 'running'")
			_, err := c.JobCancel(t.Context(), id)
			require.NoError(t, err)
		}, "cancelled", "WARN", "cancelled through River"},
		{"with its process, in the last attempt", nil, func(t *testing.T, h harness, _ client, id int64) {
			require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET state = 'running', attempt = 5, max_attempts = 5, attempted_at = '2026-01-01 00:00:00.000' WHERE id = $1", id))
		}, "discarded", "ERROR", "Stuck job rescued"},
		{"by hand", nil, func(t *testing.T, h harness, _ client, id int64) {
			require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET state = 'discarded', finalized_at = '2026-01-01 00:00:00.000' WHERE id = $1", id))
		}, "discarded", "ERROR", "no reason is stored"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, h harness) {
				if tt.name == "while it runs" && !h.postgres() {
					t.Skip("on SQLite the handler holds the lock that cancelling waits for")
				}
				var mu sync.Mutex
				var died []durable.JobDied
				bus := tidings.New()
				tidings.Subscribe(bus, func(_ context.Context, e durable.JobDied) error {
					mu.Lock()
					defer mu.Unlock()
					died = append(died, e)
					return nil
				})
				told := func() []durable.JobDied {
					mu.Lock()
					defer mu.Unlock()
					return died
				}
				logs := &logBuffer{}
				config := river.Config{ErrorHandler: cancels{}, RescueStuckJobsAfter: 2 * time.Minute}
				jobs, c := h.jobsAndClient(t, config, durable.WithBus(bus), durable.WithLogger(logs.logger()))
				opts := tidings.SubscribeOptions{quickly}
				if tt.handle == nil {
					opts = append(opts, durable.Queue("nobody"))
				}
				shop := tidings.New(tidings.WithErrorHandler(func(context.Context, error) {}))
				tidings.Subscribe(shop, func(ctx context.Context, _ Accepted) error { return tt.handle(ctx) }, tidings.Named("ops.dies"), tidings.Via(jobs), tidings.SubscribeOptions(opts))
				start(t, jobs)
				event := publishAll(t, shop, Accepted{})[0]
				id := int64(h.count(t, "SELECT id FROM river_job"))
				if tt.kill != nil {
					tt.kill(t, h, c, id)
				}
				awaitJobs(t, h, 1, "state = '"+tt.state+"'")
				waitUntil(t, func() bool { tick(t, jobs); return len(told()) > 0 }, "it is not made known")
				tick(t, jobs)
				other := h.jobs(t, river.Config{}, durable.WithBus(bus))
				tick(t, other)
				stop(t, jobs) // which ends what is being said
				require.Len(t, told(), 1)
				about := told()[0].Job
				require.Equal(t, durable.About{JobID: id, Handler: "ops.dies", EventID: event.EventID(), EventType: "crm.accepted", Attempt: about.Attempt, Reason: about.Reason}, about)
				require.Contains(t, about.Reason, tt.want)
				require.Equal(t, event.CorrelationID(), told()[0].CorrelationID())
				require.True(t, logs.has("level="+tt.level, fmt.Sprintf("job_id=%d ", id), tt.want), logs)

				// Another life, another death.
				n, err := jobs.Retry(t.Context(), durable.Selection{All: true})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				tick(t, other)
				require.Len(t, told(), 1)
				kill(t, h, "1 = 1", time.Now())
				tick(t, other)
				require.Len(t, told(), 2)
			})
		})
	}
}

// Whoever refuses the event hears of it again.
func TestADeathThatNobodyTakesIsNotForgotten(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		refuse := errors.New("the log is full")
		calls := 0
		bus := tidings.New()
		tidings.Subscribe(bus, func(context.Context, durable.JobDied) error {
			if calls++; calls == 1 {
				return refuse
			}
			return nil
		}, tidings.InTransaction)
		logs := &logBuffer{}
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus), durable.WithLogger(logs.logger()))
		fill(t, h, 1, "discarded", time.Now())
		waitUntil(t, func() bool { tick(t, jobs); return calls == 2 }, "it is not told again")
		require.True(t, logs.has("cannot announce dead jobs", "the log is full"), logs)
		tick(t, jobs)
		require.Equal(t, 2, calls)
	})
}

// More deaths that nobody takes than are read at once do not hide another one.
func TestDeathsThatNobodyTakesHideNone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		const refused = 501
		told := map[int64]bool{}
		bus := tidings.New()
		tidings.Subscribe(bus, func(_ context.Context, e durable.JobDied) error {
			told[e.Job.JobID] = true
			if len(told) <= refused {
				return errors.New("the log is full")
			}
			return nil
		}, tidings.InTransaction)
		logs := &logBuffer{}
		jobs := h.jobs(t, river.Config{}, durable.WithBus(bus), durable.WithLogger(logs.logger()))
		fill(t, h, refused+1, "discarded", time.Now())
		tick(t, jobs)
		require.Len(t, told, refused+1)
		require.True(t, logs.has("cannot announce dead jobs", fmt.Sprintf("jobs=%d ", refused)), logs)
	})
}

// The search costs nothing where many are dead.
func TestTheSearchForDeathsReadsAnIndex(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if h.sql == nil {
			t.Skip("the plan is that of the harness sql")
		}
		jobs := h.jobs(t, river.Config{})
		fill(t, h, 5000, "discarded", time.Now())
		said, explain := "jsonb_set(metadata, '$.tidings_said', attempt)", "EXPLAIN QUERY PLAN "
		if h.postgres() {
			said, explain = `metadata || '{"tidings_said": 0}'`, "EXPLAIN "
		}
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET metadata = "+said))
		if h.postgres() {
			require.NoError(t, h.exec(t.Context(), "ANALYZE river_job"))
		}
		plan := planOf(t, h, explain+durable.UnsaidQuery(jobs))
		require.Contains(t, plan, "tidings_dead_unsaid", plan)
	})
}
