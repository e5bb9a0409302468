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
	"github.com/tidings-go/tidings/eventlog/pgxlog"
)

func byNumber(e Accepted) string { return e.Number }

var inOrder = durable.InOrderBy(byNumber)

// at once, as far as River lets it
var quickly = durable.Backoff(func(int) time.Duration { return 10 * time.Millisecond })

// A diary has what handlers did, in order.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
}

// of returns the entries that begin with prefix, without it.
func (d *diary) of(prefix string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []string
	for _, e := range d.entries {
		if rest, ok := strings.CutPrefix(e, prefix); ok {
			found = append(found, rest)
		}
	}
	return found
}

// becomes waits until these are the entries that begin with prefix.
func (d *diary) becomes(t testing.TB, prefix string, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(d.of(prefix)) >= len(want) }, 30*time.Second, 5*time.Millisecond, "waiting for %q of %q", want, prefix)
	require.Equal(t, want, d.of(prefix))
}

func publish(t testing.TB, bus *tidings.EventBus, events ...Accepted) {
	t.Helper()
	for _, e := range events {
		require.NoError(t, tidings.Publish(t.Context(), bus, e))
	}
}

func numbered(key string, totals ...int64) (events []Accepted) {
	for _, total := range totals {
		events = append(events, Accepted{Number: key, Total: total})
	}
	return events
}

// idle waits until no job is left to be done.
func idle(t testing.TB, h harness) {
	t.Helper()
	require.Eventually(t, func() bool {
		return h.count(t, `SELECT count(*) FROM river_job WHERE state <> 'completed'`) == 0
	}, time.Minute, 20*time.Millisecond)
}

func pending(t testing.TB, h harness) int {
	t.Helper()
	return h.count(t, `SELECT count(*) FROM river_job WHERE state = 'pending'`)
}

// jobID returns the ID of the only job whose event has that total.
func jobID(t testing.TB, h harness, total int64) int64 {
	t.Helper()
	return int64(h.count(t, `SELECT id FROM river_job WHERE CAST(args -> 'data' ->> 'total' AS bigint) = $1`, total))
}

// inState waits until the job of that event is in a state of River's.
func inState(t testing.TB, h harness, total int64, state string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return h.count(t, `SELECT count(*) FROM river_job WHERE state = '`+state+`' AND CAST(args -> 'data' ->> 'total' AS bigint) = $1`, total) == 1
	}, 30*time.Second, 5*time.Millisecond, "waiting for %d to be %s", total, state)
}

// failAfterwards is a transport that fails a transaction when others have
// stored their jobs already.
type failAfterwards struct{ err error }

func (*failAfterwards) Phase() tidings.Phase { return tidings.BeforeCommit }
func (f *failAfterwards) Send(_ context.Context, out []tidings.Outgoing) error {
	for _, o := range out {
		if o.Event.(Accepted).Total < 0 {
			return f.err
		}
	}
	return nil
}
func (*failAfterwards) Handle(string, func(context.Context, tidings.Event) error) error { return nil }

func TestOrderIsThatOfCommits(t *testing.T) {
	t.Parallel()
	const keys = 10
	each(t, func(t *testing.T, h harness) {
		publishers, events, workers := 20, 1000, 10
		id := "bigserial PRIMARY KEY"
		if !h.postgres() {
			// There who waits is not let in turn, so of many some wait for
			// longer than the busy_timeout.
			publishers, events, workers = 4, 200, 3
			if underRace {
				events = 60
			}
			id = "integer PRIMARY KEY AUTOINCREMENT"
		}
		ctx := t.Context()
		for _, statement := range []string{
			`CREATE TABLE turn (k text PRIMARY KEY, n bigint NOT NULL)`,
			`CREATE TABLE published (id ` + id + `, k text, n bigint)`,
			`CREATE TABLE worked (id ` + id + `, k text, n bigint)`,
		} {
			require.NoError(t, h.exec(ctx, statement))
		}
		for k := range keys {
			require.NoError(t, h.exec(ctx, `INSERT INTO turn VALUES ($1, 0)`, fmt.Sprint(k)))
		}
		rolledBack := errors.New("rolled back")
		var (
			running    [keys]sync.Mutex
			atOnce     diary
			lastWorker *tidings.EventBus
		)
		for range 2 { // two clients, as in two processes
			jobs := h.jobs(t, river.Config{Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}})
			lastWorker = tidings.New()
			tidings.Subscribe(lastWorker, func(ctx context.Context, e Accepted) error {
				k := e.Total % keys
				if !running[k].TryLock() {
					atOnce.write("%s/%d", e.Number, e.Total)
					return nil
				}
				defer running[k].Unlock()
				return h.exec(ctx, `INSERT INTO worked (k, n) VALUES ($1, $2)`, e.Number, e.Total)
			}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder, quickly)))
			tidings.Subscribe(lastWorker, func(context.Context, Accepted) error { return nil },
				tidings.Named("crm.fail"), tidings.Via(&failAfterwards{rolledBack}))
			start(t, jobs)
		}

		var wg sync.WaitGroup
		for p := range publishers {
			wg.Go(func() {
				for i := p; i < events; i += publishers {
					n := int64(i)
					key := fmt.Sprint(n % keys)
					err := h.transact(ctx, func(ctx context.Context) error {
						// Half of them do not wait for each other here, but in
						// the lock of their line.
						if p%2 == 0 {
							if err := h.exec(ctx, `UPDATE turn SET n = n + 1 WHERE k = $1`, key); err != nil {
								return err
							}
							if err := h.exec(ctx, `INSERT INTO published (k, n) VALUES ($1, $2)`, key, n); err != nil {
								return err
							}
						}
						if err := tidings.Publish(ctx, lastWorker, Accepted{Number: key, Total: n}); err != nil {
							return err
						}
						switch i / publishers % 10 {
						case 3:
							return rolledBack
						case 7: // when the lock is had, and the job stored
							return tidings.Publish(ctx, lastWorker, Accepted{Number: key, Total: -1})
						}
						return nil
					})
					if !errors.Is(err, rolledBack) && err != nil {
						t.Errorf("publishing: %v", err)
					}
				}
			})
		}
		wg.Wait()
		idle(t, h)

		require.Empty(t, atOnce.of(""), "two jobs of one line ran at once")
		require.Equal(t, events*8/10, h.count(t, `SELECT count(*) FROM worked`))
		require.Equal(t, events*8/10, h.count(t, `SELECT count(DISTINCT n) FROM worked`))
		require.Zero(t, h.count(t, `
			SELECT count(*) FROM
				(SELECT n, k, row_number() OVER (PARTITION BY k ORDER BY id) AS place FROM published) AS p
				JOIN (SELECT n, k, row_number() OVER (PARTITION BY k ORDER BY id) AS place FROM worked WHERE n IN (SELECT n FROM published)) AS w ON w.n = p.n
			WHERE w.place <> p.place OR w.k <> p.k`), "the order of effects is not that of commits")
		require.Zero(t, h.count(t, `
			SELECT count(*) FROM
				(SELECT CAST(args -> 'data' ->> 'total' AS bigint) AS n, row_number() OVER (PARTITION BY metadata ->> 'tidings_order' ORDER BY id) AS place FROM river_job) AS j
				JOIN (SELECT n, row_number() OVER (PARTITION BY k ORDER BY id) AS place FROM worked) AS w ON w.n = j.n
			WHERE w.place <> j.place`), "the order of effects is not that of jobs")
	})
}

func TestOrderWaitsForTheOneThatFails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		var d diary
		heal := make(chan struct{})
		failures := map[int64]error{
			1: errors.New("fails"),
			2: durable.RetryAfter(errors.New("busy"), 20*time.Millisecond),
			3: river.JobSnooze(20 * time.Millisecond),
		}
		tries := map[int64]int{} // of one key, so one at a time
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			if e.Number == "b" {
				d.write("b%d", e.Total)
				return nil
			}
			if tries[e.Total]++; tries[e.Total] < 3 {
				d.write("a%d fails", e.Total)
				if e.Total == 4 {
					panic("at the disco")
				}
				return failures[e.Total]
			}
			select {
			case <-heal:
				d.write("a%d", e.Total)
				return nil
			default:
				return errors.New("not yet")
			}
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder, quickly, durable.Attempts(30000))))
		publish(t, bus, numbered("a", 1, 2, 3, 4, 5)...)
		publish(t, bus, numbered("b", 6, 7)...)
		require.Equal(t, 5, pending(t, h))
		start(t, jobs)

		d.becomes(t, "b", "6", "7")
		d.becomes(t, "a", "1 fails", "1 fails")
		require.Equal(t, 4, pending(t, h))
		failures[5] = errors.New("fails")
		close(heal)
		d.becomes(t, "a", "1 fails", "1 fails", "1", "2 fails", "2 fails", "2", "3 fails", "3 fails", "3", "4 fails", "4 fails", "4", "5 fails", "5 fails", "5")
		idle(t, h)
	})
}

func TestOrderWaitsForTheDead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		var d diary
		healed := false // read and written by one job at a time
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			if e.Number == "a" && e.Total%2 == 1 && !healed {
				d.write("a%d fails", e.Total)
				healed = e.Total == 3
				return errors.New("no")
			}
			d.write("%s%d", e.Number, e.Total)
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder, quickly, durable.Attempts(1))))
		publish(t, bus, numbered("a", 1, 2, 3, 4)...)
		start(t, jobs)
		inState(t, h, 1, "discarded")
		publish(t, bus, numbered("a", 6)...)
		publish(t, bus, numbered("b", 5)...)
		d.becomes(t, "b", "5")
		require.Equal(t, []string{"1 fails"}, d.of("a"))
		require.Equal(t, 4, pending(t, h))

		n, err := jobs.Discard(t.Context(), durable.Selection{JobIDs: []int64{jobID(t, h, 1)}})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		inState(t, h, 3, "discarded")
		require.Equal(t, []string{"1 fails", "2", "3 fails"}, d.of("a"))

		n, err = jobs.Retry(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		d.becomes(t, "a", "1 fails", "2", "3 fails", "3", "4", "6")
		idle(t, h)
	})
}

func TestOrderOfOneTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		var d diary
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			d.write("%s%d", e.Number, e.Total)
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder)))
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
			for i := range int64(9) {
				if err := tidings.Publish(ctx, bus, Accepted{Number: string(rune('a' + i%2)), Total: i}); err != nil {
					return err
				}
			}
			return nil
		}))
		require.Equal(t, 7, pending(t, h), "the first of each key goes")
		start(t, jobs)
		d.becomes(t, "a", "0", "2", "4", "6", "8")
		d.becomes(t, "b", "1", "3", "5", "7")
	})
}

func TestOrderKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		keys := []string{
			"",         // no order: every event is at the front
			"a\x00b",   // Postgres stores no NUL
			"a\xffb",   // nor what is no UTF-8
			"a\xfeb",   // which is another key
			"a\ufffdb", // and so is what both look like
			strings.Repeat("k", 10_000),
		}
		with := jobs.With(durable.InOrderBy(func(e Accepted) string { return keys[e.Total] }))
		work := func(context.Context, Accepted) error { return nil }
		tidings.Subscribe(bus, work, tidings.Named("crm.one"), tidings.Via(with))
		tidings.Subscribe(bus, work, tidings.Named("crm.two"), tidings.Via(with))
		for range 3 {
			for i := range keys {
				publish(t, bus, Accepted{Total: int64(i)})
			}
		}
		nested := tidings.New() // handler and key are not just put together
		for _, name := range []string{"crm.ab", "crm.abc"} {
			rest := strings.TrimPrefix("crm.abcd", name)
			tidings.Subscribe(nested, work, tidings.Named(name), tidings.Via(jobs.With(durable.InOrderBy(func(Accepted) string { return rest }))))
		}
		publish(t, nested, Accepted{})
		require.Zero(t, h.count(t, `SELECT count(*) FROM river_job WHERE state = 'pending' AND kind LIKE 'crm.ab%'`))
		require.NoError(t, h.exec(t.Context(), `DELETE FROM river_job WHERE kind LIKE 'crm.ab%'`))

		require.Equal(t, 2*3, h.count(t, `SELECT count(*) FROM river_job WHERE metadata ->> 'tidings_order' IS NULL`))
		require.Equal(t, 2*(len(keys)-1), h.count(t, `SELECT count(DISTINCT metadata ->> 'tidings_order') FROM river_job`), "each handler and key has a line")
		require.Equal(t, 2*2*(len(keys)-1), pending(t, h))
		require.Equal(t, 2*3*3, h.count(t, `SELECT count(*) FROM river_job WHERE metadata ->> 'tidings_key' = $1`, "a\ufffdb")-2*3, "for people")
		start(t, jobs)
		idle(t, h)
	})
}

func TestOrderOfAnotherEvent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus := tidings.New()
		tidings.Subscribe(bus, func(context.Context, tidings.Event) error { return nil },
			tidings.Named("crm.work"), tidings.Via(h.jobs(t, river.Config{}).With(inOrder)))
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		err := tidings.Publish(t.Context(), bus, Created{})
		require.ErrorContains(t, err, "durable: InOrderBy has the key of durable_test.Accepted, but the handler gets durable_test.Created")
	})
}

func TestOrderOfInterfaces(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		bus := tidings.New()
		byType := durable.InOrderBy(func(e tidings.Event) string { return fmt.Sprintf("%T", e) })
		tidings.Subscribe(bus, func(context.Context, tidings.Event) error { return nil },
			tidings.Named("crm.work"), tidings.Via(h.jobs(t, river.Config{}).With(byType)))
		publish(t, bus, Accepted{}, Accepted{})
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{}))
		require.Equal(t, 1, pending(t, h))
	})
}

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
			if tidings.WithinTx(ctx) {
				d.write("in a transaction")
			}
			if e.Total == 2 && len(d.of("2")) == 1 {
				return errors.New("once more")
			}
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder, durable.Outside(), quickly)))
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
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder, quickly)))
		publish(t, bus, numbered("a", 1)...)
		publish(t, bus, numbered("b", 1)...)
		start(t, jobs)
		require.Eventually(t, func() bool {
			return h.count(t, `SELECT count(*) FROM river_job WHERE state = 'completed'`) == 6
		}, 30*time.Second, 20*time.Millisecond)
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
			tidings.Subscribe(bus, work, tidings.Named(names[0]), tidings.Via(jobs.With(inOrder, durable.Alias(names[1:]...))))
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
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder, quickly)))
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

		tick := make(chan time.Time)
		over, stopRepair := context.WithCancel(ctx)
		repaired := make(chan struct{})
		go func() {
			defer close(repaired)
			jobs.RepairUntil(over, tick)
		}()
		tick <- time.Now()
		tick <- time.Now() // taken when the first one is worked
		stopRepair()
		<-repaired
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
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder)))
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
		jobs := h.jobs(t, river.Config{FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 30 * time.Second})
		bus := tidings.New()
		var d diary
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			d.write("%d", e.Total)
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder)))
		start(t, jobs)
		publish(t, bus, numbered("a", 1, 2, 3, 4, 5)...)
		began := time.Now()
		d.becomes(t, "", "1", "2", "3", "4", "5")
		require.Less(t, time.Since(began), 20*time.Second)
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
		tidings.Subscribe(bus, work, tidings.Named("crm.work"), tidings.Via(publisher.With(inOrder)))
		tidings.Subscribe(worker, work, tidings.Named("crm.work"), tidings.Via(jobs.With(inOrder)))
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
			for name, open := range map[string]func(testing.TB) harness{"sql": openSQL, "pgx": openPgx} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					h := open(t)
					jobs := h.jobs(t, river.Config{})
					bus := tidings.New()
					work := func(context.Context, Accepted) error { return nil }
					tidings.Subscribe(bus, work, tidings.Named("crm.ordered"), tidings.Via(jobs.With(inOrder)))
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
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("crm.work"), tidings.Via(h.jobs(t, river.Config{}).With(inOrder)))
		return bus
	}
	busOne, busTwo := busOf(one), busOf(two)

	held, release := make(chan struct{}), make(chan struct{})
	committed := make(chan error, 1)
	go func() {
		holding := func(ctx context.Context, body func(context.Context) error) error {
			return pgxlog.TxFunc(one.pool)(ctx, func(ctx context.Context) error {
				err := body(ctx)
				close(held)
				<-release
				return err
			})
		}
		committed <- tidings.Transact(context.Background(), holding, func(ctx context.Context) error {
			return tidings.Publish(ctx, busOne, Accepted{Number: "a"})
		})
	}()
	<-held
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	other := tidings.Publish(ctx, busTwo, Accepted{Number: "a"})
	close(release)
	require.NoError(t, other)
	require.NoError(t, <-committed)
}
