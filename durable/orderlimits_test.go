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
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

func TestOrderOutside(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		var d diary
		var running sync.Mutex
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			if !running.TryLock() {
				d.write("two at once")
			}
			defer running.Unlock()
			d.write("%d", e.Total)
			if hasTx(ctx) {
				d.write("in a transaction")
			}
			if e.Total == 2 && len(d.of("2")) == 1 {
				return errors.New("once more")
			}
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder, durable.Outside(), quickly)
		publish(t, bus, numbered("a", 1, 2, 3)...)
		start(t, jobs)
		d.becomes(t, "", "1", "2", "2", "3")
		idle(t, h)
	})
}

// Two handlers that publish to each other's lines may each hold one lock and
// want the other. Postgres ends one of them, whose attempt is made again.
func TestOrderOfHandlersThatPublish(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		var d diary
		var meet sync.WaitGroup
		meet.Add(2)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			d.write("%s%d", e.Number, e.Total)
			if e.Total > 1 {
				return nil
			}
			if h.postgres() && len(d.of(e.Number+"1")) == 1 { // SQLite has one writer
				meet.Done()
				meet.Wait()
			}
			for _, key := range []string{"a", "b"} {
				if err := tidings.Publish(ctx, bus, Accepted{Number: key, Total: 2}); err != nil {
					return err
				}
			}
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder, quickly)
		publish(t, bus, numbered("a", 1)...)
		publish(t, bus, numbered("b", 1)...)
		start(t, jobs)
		require.Eventually(t, func() bool {
			return h.count(t, `SELECT count(*) FROM river_job WHERE state = 'completed'`) == 6
		}, time.Minute, 20*time.Millisecond)
		require.Equal(t, []string{"2", "2"}, d.of("a")[len(d.of("a"))-2:])
		require.Equal(t, []string{"2", "2"}, d.of("b")[len(d.of("b"))-2:])
	})
}

func TestOrderThroughARename(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		var d diary
		work := func(_ context.Context, e Accepted) error {
			d.write("%d", e.Total)
			return nil
		}
		var bus *tidings.EventBus
		var jobs *durable.Jobs
		for i, names := range [][]string{{"crm.first"}, {"crm.second", "crm.first"}, {"crm.third", "crm.second", "crm.first"}} {
			bus, jobs = tidings.New(), h.jobs(t, river.Config{})
			tidings.Subscribe(bus, work, tidings.Named(names[0]), tidings.Via(jobs), inOrder, durable.Alias(names[1:]...))
			publish(t, bus, numbered("a", int64(2*i), int64(2*i+1))...)
			require.Equal(t, 2*i+1, pending(t, h))
		}
		start(t, jobs)
		d.becomes(t, "", "0", "1", "2", "3", "4", "5")
	})
}

// River's own ways to change jobs know nothing of lines.
func TestOrderWhenJobsAreChangedThroughRiver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs, client := h.jobsAndClient(t, river.Config{})
		bus := tidings.New()
		var d diary
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			d.write("%s%d", e.Number, e.Total)
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder, quickly)
		ctx := t.Context()
		publish(t, bus, numbered("a", 1, 2, 3)...)
		publish(t, bus, numbered("b", 4, 5, 6, 7)...)
		for _, total := range []int64{1, 5} { // a head, and one in the middle
			_, err := client.JobDelete(ctx, jobID(t, h, total))
			require.NoError(t, err)
		}
		_, err := client.JobCancel(ctx, jobID(t, h, 6))
		require.NoError(t, err)
		require.Equal(t, 3, pending(t, h))

		tick(t, jobs)
		require.Equal(t, 2, pending(t, h), "the next of a goes")
		_, err = client.JobDelete(ctx, jobID(t, h, 2))
		require.NoError(t, err)
		start(t, jobs) // which repairs, too

		d.becomes(t, "a", "3")
		d.becomes(t, "b", "4")
		require.Equal(t, 1, pending(t, h), "what is cancelled is dead, and holds the line")
		dead, err := jobs.Dead(ctx, durable.Selection{})
		require.NoError(t, err)
		require.Len(t, dead, 1)
		_, err = jobs.Discard(ctx, durable.Selection{All: true})
		require.NoError(t, err)
		d.becomes(t, "b", "4", "7")
	})
}

func TestOrderWhenTheDeadIsBehind(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs, client := h.jobsAndClient(t, river.Config{})
		bus := tidings.New()
		var d diary
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			d.write("%d", e.Total)
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder)
		publish(t, bus, numbered("a", 1, 2, 3)...)
		_, err := client.JobCancel(t.Context(), jobID(t, h, 2))
		require.NoError(t, err)
		n, err := jobs.Retry(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, 2, pending(t, h), "it is back in line")
		start(t, jobs)
		d.becomes(t, "", "1", "2", "3")
	})
}

// The next in line begins when the one before is done, not when River looks
// for jobs of its own accord.
func TestOrderWakesWorkers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{FetchCooldown: 5 * time.Millisecond, FetchPollInterval: time.Hour})
		bus := tidings.New()
		var d diary
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			d.write("%d", e.Total)
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder)
		start(t, jobs)
		publish(t, bus, numbered("a", 1, 2, 3, 4, 5)...)
		d.becomes(t, "", "1", "2", "3", "4", "5")
	})
}

// A worker whose clock is ahead does not make the next in line wait until the
// clock of the database is there.
func TestOrderWithAClockAhead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		ahead := func() time.Time { return time.Now().Add(time.Hour) }
		publisher, jobs := h.jobs(t, river.Config{}), h.jobs(t, river.Config{}, durable.WithClock(ahead))
		bus, worker := tidings.New(), tidings.New()
		var d diary
		work := func(_ context.Context, e Accepted) error {
			d.write("%d", e.Total)
			return nil
		}
		tidings.Subscribe(bus, work, tidings.Named("crm.work"), tidings.Via(publisher), inOrder)
		tidings.Subscribe(worker, work, tidings.Named("crm.work"), tidings.Via(jobs), inOrder)
		publish(t, bus, numbered("a", 1, 2, 3)...)
		start(t, jobs)
		d.becomes(t, "", "1", "2", "3")
	})
}

// A transaction that does not see what others commit meanwhile would let two
// jobs of a line go, or none.
func TestOrderNeedsReadCommitted(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable", "read committed", "read uncommitted"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				name string
				open func(testing.TB) harness
			}{{"sql", openSQL}, {"pgx", openPgx}} {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					h := tt.open(t)
					jobs := h.jobs(t, river.Config{})
					bus := tidings.New()
					work := func(context.Context, Accepted) error { return nil }
					tidings.Subscribe(bus, work, tidings.Named("crm.ordered"), tidings.Via(jobs), inOrder)
					tidings.Subscribe(bus, func(context.Context, Created) error { return nil }, tidings.Named("crm.free"), tidings.Via(jobs))
					at := func(event func(context.Context) error) error {
						return h.transact(t.Context(), func(ctx context.Context) error {
							if err := h.exec(ctx, "SET TRANSACTION ISOLATION LEVEL "+level); err != nil {
								return err
							}
							return event(ctx)
						})
					}
					err := at(func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{Number: "a"}) })
					if strings.HasPrefix(level, "read ") {
						require.NoError(t, err)
					} else {
						require.ErrorContains(t, err, "durable: InOrderBy needs a transaction at READ COMMITTED, and this one is at "+strings.ToUpper(level))
						require.Zero(t, h.count(t, `SELECT count(*) FROM river_job`))
					}
					require.NoError(t, at(func(ctx context.Context) error { return tidings.Publish(ctx, bus, Created{}) }))
				})
			}
		})
	}
}

// What the completion of a job costs does not depend on how many wait.
func TestOrderReadsOnlyTheHead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if h.sql == nil {
			t.Skip("the plan is that of the harness sql")
		}
		jobs := h.jobs(t, river.Config{})
		const sqlite = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
			INSERT INTO river_job (kind, args, max_attempts, state, metadata) SELECT 'k', jsonb('{}'), 5, 'pending', jsonb(json_object('tidings_order', %s)) FROM n`
		const postgres = `INSERT INTO river_job (kind, args, max_attempts, state, metadata)
			SELECT 'k', '{}', 5, 'pending', jsonb_build_object('tidings_order', %s) FROM generate_series(1, 5000) AS i`
		fill, explain := sqlite, "EXPLAIN QUERY PLAN "
		if h.postgres() {
			fill, explain = postgres, "EXPLAIN "
		}
		for _, line := range []string{`'one'`, `CAST(i AS text)`} { // 5,000 in a line, and in 5,000
			require.NoError(t, h.exec(t.Context(), fmt.Sprintf(fill, line)))
			if h.postgres() && line != `'one'` { // the first time nothing is known of the table
				require.NoError(t, h.exec(t.Context(), "ANALYZE river_job"))
			}
			plan := planOf(t, h, explain+durable.AdvanceSQL(jobs), `["one", "7"]`, "2026-11-01 00:00:00.000")
			require.Contains(t, plan, "tidings_job_order", plan)
			for _, bad := range []string{"Seq Scan", "SCAN head", "SCAN river_job", "prioritized", "TEMP B-TREE", "Sort"} {
				require.NotContains(t, plan, bad, plan)
			}
			plan = planOf(t, h, explain+durable.RepairSQL(jobs), "2026-11-01 00:00:00.000")
			require.NotContains(t, plan, "CORRELATED", "one pass: "+plan)
			require.NotContains(t, plan, "SubPlan", "one pass: "+plan)
		}
	})
}

func planOf(t testing.TB, h harness, query string, args ...any) string {
	t.Helper()
	rows, err := h.sql.QueryContext(t.Context(), query, args...)
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var plan []string
	for rows.Next() {
		dest := make([]any, len(columns))
		for i := range dest {
			dest[i] = new(any)
		}
		require.NoError(t, rows.Scan(dest...))
		plan = append(plan, fmt.Sprint(*dest[len(dest)-1].(*any))) // the last column says it
	}
	require.NoError(t, rows.Err())
	return strings.Join(plan, "\n")
}

// Two applications may share a Postgres, each with a schema of its own. A line
// of one does not wait for that of the other.
func TestOrderOfOneSchema(t *testing.T) {
	t.Parallel()
	one, two := openPgx(t), openPgx(t)
	busOf := func(h harness) *tidings.EventBus {
		bus := tidings.New()
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("crm.work"), tidings.Via(h.jobs(t, river.Config{})), inOrder)
		return bus
	}
	busOne, busTwo := busOf(one), busOf(two)

	held, release := make(chan struct{}), make(chan struct{})
	committed := make(chan error, 1)
	go func() {
		holding := func(ctx context.Context, body func(context.Context) error) error {
			return pgxtx.Transactor(one.pool).Run(ctx, func(ctx context.Context) error {
				err := body(ctx)
				close(held)
				<-release
				return err
			})
		}
		committed <- tidings.Transact(context.Background(), tidings.Transactor{DB: one.pool, Run: holding}, func(ctx context.Context) error {
			return tidings.Publish(ctx, busOne, Accepted{Number: "a"})
		})
	}()
	<-held
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	other := tidings.Publish(ctx, busTwo, Accepted{Number: "a"})
	close(release)
	require.NoError(t, other)
	require.NoError(t, <-committed)
}
