package durable_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

// warnings returns how many lines of level WARN there are.
func (b *logBuffer) warnings() int { return strings.Count(b.String(), "level=WARN") }

func queuesOf(names ...string) map[string]river.QueueConfig {
	queues := map[string]river.QueueConfig{}
	for _, name := range names {
		queues[name] = river.QueueConfig{MaxWorkers: 2}
	}
	return queues
}

// subscribeIn subscribes a handler of Accepted, whose jobs are in that queue.
func subscribeIn(t testing.TB, jobs *durable.Jobs, name, queue string) *tidings.EventBus {
	t.Helper()
	bus := tidingstest.NewBus(t)
	tidings.Subscribe(bus, nothing[Accepted], tidings.Named(name), tidings.Via(jobs), durable.Queue(queue))
	return bus
}

func TestStartSaysWhichQueuesNobodyWorks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		// A process that only publishes, for a queue that no process knows.
		publish(t, subscribeIn(t, withoutWorkers(t, h), "reports.print", "reports"), Accepted{}, Accepted{})

		logs := &logBuffer{}
		first := h.jobs(t, river.Config{Queues: queuesOf("default", "orders")}, durable.WithLogger(logs.logger()))
		for name, queue := range map[string]string{"crm.work": "default", "orders.place": "orders", "mail.send": "mail", "mail.bill": "mail"} {
			subscribeIn(t, first, name, queue)
		}
		start(t, first)
		const idle = "no process works a queue at present"
		require.True(t, logs.has("level=WARN", idle, "queue=mail", `handlers="[mail.bill mail.send]"`, "jobs=0"), logs)
		require.True(t, logs.has("level=WARN", idle, "queue=reports", "handlers=[reports.print]", "jobs=2", "oldest="+time.Now().UTC().Format("2006")), logs)
		require.Equal(t, 2, logs.warnings(), logs)

		// Of these queues another process works one, and the first one the rest.
		logs = &logBuffer{}
		second := h.jobs(t, river.Config{Queues: queuesOf("mail")}, durable.WithLogger(logs.logger()))
		for name, queue := range map[string]string{"crm.work": "default", "orders.place": "orders", "mail.send": "mail", "mail.bill": "mail"} {
			subscribeIn(t, second, name, queue)
		}
		start(t, second)
		require.True(t, logs.has("level=WARN", idle, "queue=reports"), logs)
		require.Equal(t, 1, logs.warnings(), logs)
	})
}

// That another process worked a queue once does not mean that it does now. It
// says so every ten minutes.
func TestStartDoesNotTrustQueuesOfThePast(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		logs := &logBuffer{}
		jobs := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
		subscribeIn(t, jobs, "mail.send", "mail")
		worked := func(queue, ago string) {
			t.Helper()
			require.NoError(t, h.exec(t.Context(), "DELETE FROM river_queue WHERE name = '"+queue+"'"))
			insert := "INSERT INTO river_queue (name, created_at, metadata, updated_at) VALUES ($1, now(), '{}', now() - interval '" + ago + "')"
			if h.name == "sqlite" {
				insert = "INSERT INTO river_queue (name, created_at, metadata, updated_at) VALUES ($1, CURRENT_TIMESTAMP, jsonb('{}'), strftime('%Y-%m-%d %H:%M:%f', 'now', '-" + ago + "'))"
			}
			require.NoError(t, h.exec(t.Context(), insert, queue))
		}
		worked("default", "1 seconds")
		worked("mail", "9 minutes")
		again, err := jobs.Survey(t.Context())
		require.NoError(t, err)
		require.Zero(t, logs.warnings(), logs)
		again()
		require.Zero(t, logs.warnings(), logs)
		worked("mail", "30 minutes") // it has left
		for range 2 {
			again()
			require.True(t, logs.has("level=WARN", "no process works a queue", "queue=mail"), logs)
			require.Equal(t, 1, logs.warnings(), "once: %v", logs)
		}
	})
}

func TestStartSaysThatAQueueIsPaused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs, _ := h.jobsAndClient(t, river.Config{})
		subscribeIn(t, jobs, "crm.work", "default")
		start(t, jobs)
		stop(t, jobs)
		now := "now()"
		if h.name == "sqlite" {
			now = "CURRENT_TIMESTAMP"
		}
		require.NoError(t, h.exec(t.Context(), "UPDATE river_queue SET paused_at = "+now))
		logs := &logBuffer{}
		again := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
		subscribeIn(t, again, "crm.work", "default")
		start(t, again)
		require.True(t, logs.has("level=WARN", "a queue is paused", "queue=default"), logs)
		require.Equal(t, 1, logs.warnings(), logs)
	})
}

func TestStartSaysWhichNamesNobodyHas(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		publisher := withoutWorkers(t, h)
		bus := subscribeIn(t, publisher, "old.name", "default")
		elsewhere := subscribeIn(t, publisher, "orders.place", "orders")
		publish(t, bus, Accepted{}, Accepted{})
		publish(t, elsewhere, Accepted{})
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET kind = 'chore' || id, args = '{}' WHERE id = (SELECT min(id) FROM river_job)"))
		for range 2 {
			publish(t, bus, Accepted{})
		}

		logs := &logBuffer{}
		jobs := h.jobs(t, river.Config{Queues: queuesOf("default")}, durable.WithLogger(logs.logger()))
		subscribeIn(t, jobs, "new.name", "default")
		other := h.jobs(t, river.Config{Queues: queuesOf("orders")})
		subscribeIn(t, other, "orders.place", "orders")
		start(t, other)
		start(t, jobs)
		require.True(t, logs.has("level=WARN", "does not subscribe", "durable.Alias", "handler=old.name", "jobs=3", "oldest="), logs)
		require.Equal(t, 1, strings.Count(logs.String(), "does not subscribe"), "neither what is not ours nor what others work: %v", logs)
		stop(t, jobs)

		renamed := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
		tidings.Subscribe(tidingstest.NewBus(t), nothing[Accepted], tidings.Named("new.name"), tidings.Via(renamed), durable.Alias("old.name"))
		require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET state = 'available', attempt = 0 WHERE kind = 'old.name'"))
		start(t, renamed)
		require.Equal(t, 1, strings.Count(logs.String(), "does not subscribe"), "as it says: %v", logs)
		awaitJobs(t, h, 3, "kind = 'old.name' AND state = 'completed'")
	})
}

func TestStartSaysWhichEventsCannotCome(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		registry := newRegistry()
		logs := &logBuffer{}
		config := durable.Configure(&river.Config{Queues: queuesOf("default"), TestOnly: true})
		jobs := jobsWith(t, h, config, registry, durable.WithLogger(logs.logger()))
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Unknown], tidings.Named("of.unknown"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[numberer], tidings.Named("of.numberer"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[Late], tidings.Named("of.late"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[tidings.Event], tidings.Named("of.event"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[durable.JobDied], tidings.Named("of.dead"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[Unknown], tidings.Named("of.gone"), tidings.Via(jobs)).Unsubscribe()
		tidings.Register[Late](registry, "crm.late", 1)
		start(t, jobs)
		require.True(t, logs.has("level=WARN", "not registered", "handler=of.unknown", "event=durable_test.Unknown"), logs)
		require.True(t, logs.has("level=WARN", "not registered", "handler=of.numberer"), logs)
		require.True(t, logs.has("level=WARN", "WithBus", "handler=of.dead", "event=durable.JobDied"), logs)
		require.Equal(t, 3, logs.warnings(), logs)
	})
}

// Late is registered after it was subscribed to.
type Late struct{ tidings.DomainEvent }

func TestStartSaysThatThereIsNoIndex(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		logs := &logBuffer{}
		jobs := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
		tidings.Subscribe(tidingstest.NewBus(t), nothing[Accepted], tidings.Named("crm.work"), tidings.Via(jobs), inOrder)
		dropIndexes(t, h)
		start(t, jobs)
		require.True(t, logs.has("level=WARN", "the index for InOrderBy is missing", "Jobs.Migrate"), logs)
		stop(t, jobs)
		require.NoError(t, jobs.Migrate(t.Context()))
		start(t, jobs)
		require.Equal(t, 1, logs.warnings(), logs)
	})
}

// What is published before Start waits for it, which may never come.
func TestPublishBeforeStart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		logs := &logBuffer{}
		const idle = "before Start was called"
		jobs := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
		bus := subscribeIn(t, jobs, "crm.work", "default")
		require.False(t, logs.has(idle), "nothing waits")
		publish(t, bus, Accepted{}, Accepted{})
		require.True(t, logs.has("level=WARN", idle), logs)
		require.Equal(t, 1, logs.warnings(), "once: %v", logs)

		started := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
		bus = subscribeIn(t, started, "crm.other", "default")
		start(t, started)
		publish(t, bus, Accepted{})
		stop(t, started)
		publish(t, bus, Accepted{})
		require.Equal(t, 1, strings.Count(logs.String(), idle), "it is started: %v", logs)

		publisher := publisherWith(t, h, durable.WithLogger(logs.logger()))
		publish(t, subscribeIn(t, publisher, "crm.work", "default"), Accepted{})
		require.Equal(t, 1, strings.Count(logs.String(), idle), "others are to do that: %v", logs)
	})
}

func publisherWith(t testing.TB, h harness, opts ...durable.Option) *durable.Jobs {
	t.Helper()
	if h.postgres() {
		return publisherOf(t, h, riverpgxv5.New(h.pool), opts)
	}
	return publisherOf(t, h, riversqlite.New(h.sql), opts)
}

func publisherOf[TTx any](t testing.TB, h harness, driver riverdriver.Driver[TTx], opts []durable.Option) *durable.Jobs {
	t.Helper()
	client, err := river.NewClient(driver, &river.Config{})
	require.NoError(t, err)
	jobs, err := durable.New(client, nil, h.transactor, newRegistry(), opts...)
	require.NoError(t, err)
	return jobs
}

// River's tables come first: whatever is called without them names the remedy.
func TestWithoutRiversTables(t *testing.T) {
	t.Parallel()
	const remedy = "River's tables are missing or too old: run its migrations"
	for _, tt := range []struct {
		name string
		open func(t *testing.T) harness
	}{
		{"sqlite", func(t *testing.T) harness { return sqliteAt(t, filepath.Join(t.TempDir(), "jobs.db")) }},
		{"sql", func(t *testing.T) harness { return sqlAt(t, postgresSchema(t)) }},
		{"pgx", func(t *testing.T) harness { return pgxAt(t, postgresSchema(t)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := tt.open(t)
			config := durable.Configure(&river.Config{Queues: queuesOf("default"), TestOnly: true})
			var jobs *durable.Jobs
			if h.postgres() {
				jobs = newOf(t, h, riverpgxv5.New(h.pool), config)
			} else {
				jobs = newOf(t, h, riversqlite.New(h.sql), config)
			}
			bus := subscribeIn(t, jobs, "crm.work", "default")
			tidings.Subscribe(bus, nothing[Created], tidings.Named("crm.order"), tidings.Via(jobs), durable.InOrderBy(func(Created) string { return "x" }))
			for what, err := range map[string]error{
				"Start":   jobs.Start(t.Context()),
				"Publish": tidings.Publish(t.Context(), bus, Accepted{}),
				"Publish of many": h.transact(t.Context(), func(ctx context.Context) error {
					_ = tidings.Publish(ctx, bus, Accepted{})
					return tidings.Publish(ctx, bus, Accepted{})
				}),
				"Publish in order":          tidings.Publish(t.Context(), bus, Created{}),
				"Publish in a transaction":  h.transact(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{}) }),
				"Migrate":                   jobs.Migrate(t.Context()),
				"Counts":                    second(jobs.Counts(t.Context())),
				"Dead":                      second(jobs.Dead(t.Context(), durable.Selection{})),
				"Retry":                     second(jobs.Retry(t.Context(), durable.Selection{All: true})),
				"Status of an event":        second(jobs.Status(t.Context(), tidings.Stamp(t.Context(), Accepted{}).EventID())),
				"Purge of what is finished": second(jobs.Purge(t.Context(), time.Now())),
			} {
				require.ErrorContains(t, err, remedy, what)
			}
			require.NoError(t, jobs.Close(t.Context()))
		})
	}
}

func newOf[TTx any](t testing.TB, h harness, driver riverdriver.Driver[TTx], config *river.Config, opts ...durable.Option) *durable.Jobs {
	t.Helper()
	client, err := river.NewClient(driver, config)
	require.NoError(t, err)
	jobs, err := durable.New(client, config.Workers, h.transactor, newRegistry(), opts...)
	require.NoError(t, err)
	return jobs
}

func second[T any](_ T, err error) error { return err }
