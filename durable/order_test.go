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
)

func byNumber(e Accepted) string { return e.Number }

var inOrder = durable.InOrderBy(byNumber)

// at once, as far as River lets it
var quickly = tidings.Backoff(func(int) time.Duration { return 10 * time.Millisecond })

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
	require.Eventually(t, func() bool { return len(d.of(prefix)) >= len(want) }, time.Minute, 5*time.Millisecond, "waiting for %q of %q", want, prefix)
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
	}, time.Minute, 5*time.Millisecond, "waiting for %d to be %s", total, state)
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
func (*failAfterwards) Encode(context.Context, tidings.Outgoing) (any, error) { return nil, nil }
func (*failAfterwards) Handle(tidings.Handler) (func(), error)                { return nil, nil }

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
			}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder, quickly)
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
			2: tidings.RetryAfter(errors.New("busy"), 20*time.Millisecond),
			3: river.JobSnooze(20 * time.Millisecond),
			5: errors.New("fails"), // 4 panics
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
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder, quickly, tidings.Attempts(30000))
		publish(t, bus, numbered("a", 1, 2, 3, 4, 5)...)
		publish(t, bus, numbered("b", 6, 7)...)
		require.Equal(t, 5, pending(t, h))
		start(t, jobs)

		d.becomes(t, "b", "6", "7")
		d.becomes(t, "a", "1 fails", "1 fails")
		require.Equal(t, 4, pending(t, h))
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
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder, quickly, tidings.Attempts(1))
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
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder)
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
		with := tidings.SubscribeOptions{tidings.Via(jobs), durable.InOrderBy(func(e Accepted) string { return keys[e.Total] })}
		work := func(context.Context, Accepted) error { return nil }
		tidings.Subscribe(bus, work, tidings.Named("crm.one"), with)
		tidings.Subscribe(bus, work, tidings.Named("crm.two"), with)
		for range 3 {
			for i := range keys {
				publish(t, bus, Accepted{Total: int64(i)})
			}
		}
		nested := tidings.New() // handler and key are not just put together
		for _, name := range []string{"crm.ab", "crm.abc"} {
			rest := strings.TrimPrefix("crm.abcd", name)
			tidings.Subscribe(nested, work, tidings.Named(name), tidings.Via(jobs), durable.InOrderBy(func(Accepted) string { return rest }))
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
			tidings.Named("crm.work"), tidings.Via(h.jobs(t, river.Config{})), inOrder)
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
			tidings.Named("crm.work"), tidings.Via(h.jobs(t, river.Config{})), byType)
		publish(t, bus, Accepted{}, Accepted{})
		require.NoError(t, tidings.Publish(t.Context(), bus, Created{}))
		require.Equal(t, 1, pending(t, h))
	})
}
