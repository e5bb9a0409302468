package durable_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
)

// A Tree nests as deep as one likes.
type Tree struct {
	tidings.DomainEvent
	Value Exactly `json:"value"`
}

// An Exactly is JSON that is to be delivered as it was published.
type Exactly struct{ JSON string }

func (e Exactly) MarshalJSON() ([]byte, error)  { return []byte(e.JSON), nil }
func (e *Exactly) UnmarshalJSON(b []byte) error { e.JSON = string(b); return nil }

// The handler gets what a synchronous one gets, whatever the database makes of
// it in between.
func TestSendKeepsEventsIntact(t *testing.T) {
	t.Parallel()
	texts := []string{
		"", "a\x00b", "\x00", `\u0000`, `\\u0000 \`, "\ufffd", `"'` + "`", "<>&", "\u2028\u2029", "Zoë 🐟 \u200fعربى", "\x01\x1f\x7f\r\n\t",
		`enclosedcloudevent`, `{"enclosedcloudevent":"x"}`, "$1 {schema} ? ::text",
	}
	numbers := []int64{0, 1<<53 + 1, -1<<53 - 1, math.MaxInt64, math.MinInt64}
	amounts := []float64{0, math.Copysign(0, -1), 0.1, 1e21, -1e-7, 1e300, 5e-324, math.MaxFloat64, math.Pi, 100, 1.5e6}
	values := []string{
		`1e5`, `-0`, `-0.0`, `1.0`, `100000000000000000000000000000000000001`, `1e400000`, `0.` + strings.Repeat("0", 20_000) + `1`,
		strings.Repeat("[", 2000) + strings.Repeat("]", 2000), strings.Repeat(`{"a":`, 1200) + `"\\"` + strings.Repeat("}", 1200),
		`"\ud800"`, `"\uDBFF\uDFFF"`, `"\\ud800"`, `null`, `true`, `[false,-1,"e"]`,
	}
	each(t, func(t *testing.T, h harness) {
		registry := newRegistry()
		tidings.Register[Tree](registry, "tree", 1)
		jobs := jobsWith(t, h, &river.Config{Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}}}, registry)
		bus := tidingstest.NewBus(t)
		var (
			mu         sync.Mutex
			here, away = map[uuid.UUID]tidings.Event{}, map[uuid.UUID]tidings.Event{}
		)
		record := func(into map[uuid.UUID]tidings.Event) func(context.Context, tidings.Event) error {
			return func(_ context.Context, e tidings.Event) error {
				mu.Lock()
				defer mu.Unlock()
				into[e.EventID()] = e
				return nil
			}
		}
		tidings.Subscribe(bus, record(here), tidings.AfterCommit)
		tidings.Subscribe(bus, record(away), tidings.Named("away"), tidings.Via(jobs))
		var events []tidings.Event
		for _, text := range texts {
			events = append(events, Accepted{Number: text}, transporttest.Described{Text: text, Lines: tidings.ListOf(text, "", text)})
		}
		for _, n := range numbers {
			events = append(events, Accepted{Total: n}, transporttest.Described{Number: n})
		}
		for _, a := range amounts {
			events = append(events, transporttest.Described{Amount: a})
		}
		for _, v := range values {
			events = append(events, Tree{Value: Exactly{v}})
		}
		events = append(events, transporttest.Described{Due: time.Date(2026, 2, 28, 23, 59, 59, 123456789, time.UTC)},
			transporttest.Described{Due: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)})
		published := 0
		for i, e := range events { // some alone, and all together
			if i%4 != 0 {
				continue
			}
			published++
			require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, e) }), "%v", e)
		}
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
			for _, e := range events {
				if err := tidings.Publish(ctx, bus, e); err != nil {
					return err
				}
			}
			return nil
		}))
		require.Len(t, here, published+len(events))
		start(t, jobs)
		awaitJobs(t, h, len(here), "state = 'completed'")
		for id, want := range here {
			got := away[id]
			if tree, ok := want.(Tree); ok { // but for spaces
				a, b := tree.Value.JSON, strings.ReplaceAll(got.(Tree).Value.JSON, ", ", ",")
				require.Equal(t, a, b)
				continue
			}
			require.Equal(t, want, got)
			if d, ok := want.(transporttest.Described); ok {
				require.Equal(t, math.Signbit(d.Amount), math.Signbit(got.(transporttest.Described).Amount))
			}
		}
		require.Equal(t, len(here), storedJobs(t, h, "args ->> 'id' IS NOT NULL AND args ->> 'type' IS NOT NULL AND args ->> 'specversion' = '1.0'"))
		id := ""
		for k, e := range here {
			if a, ok := e.(Accepted); ok && a.Number == "a\x00b" {
				id = k.String()
			}
		}
		require.Equal(t, 1, storedJobs(t, h, "args ->> 'id' = $1 AND args ->> 'type' = 'crm.accepted'", id), "found by those who look for the event")
	})
}

// jobsWith is h.jobs with another registry.
func jobsWith(t testing.TB, h harness, config *river.Config, registry *tidings.Registry, opts ...durable.Option) *durable.Jobs {
	t.Helper()
	config.FetchCooldown, config.FetchPollInterval = 5*time.Millisecond, 50*time.Millisecond
	config.Logger, config.TestOnly = slog.New(slog.DiscardHandler), true
	durable.Configure(config)
	if h.postgres() {
		return newJobsWith(t, h, riverpgxv5.New(h.pool), config, registry, opts)
	}
	return newJobsWith(t, h, riversqlite.New(h.sql), config, registry, opts)
}

func newJobsWith[TTx any](t testing.TB, h harness, driver riverdriver.Driver[TTx], config *river.Config, registry *tidings.Registry, opts []durable.Option) *durable.Jobs {
	t.Helper()
	c, err := river.NewClient(driver, config)
	require.NoError(t, err)
	jobs, err := durable.New(c, config.Workers, h.transactor, registry, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { stop(t, jobs) })
	return jobs
}

// River's tables may be in a schema that is not in the search path, whose name
// needs quotes.
func TestSendInASchemaOfRiversOwn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("SQLite has no schemas")
		}
		ctx := t.Context()
		schema := "River_" + rand.Text()
		require.NoError(t, h.exec(ctx, "DROP TABLE river_job CASCADE"))
		require.NoError(t, h.exec(ctx, "DROP TYPE river_job_state CASCADE"))
		require.NoError(t, h.exec(ctx, `CREATE SCHEMA "`+schema+`"`))
		t.Cleanup(func() { require.NoError(t, h.exec(context.Background(), `DROP SCHEMA "`+schema+`" CASCADE`)) })
		migrator, err := rivermigrate.New(riverpgxv5.New(h.pool), &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		require.NoError(t, err)

		// Without its notifications the test takes too long.
		jobs := h.jobs(t, river.Config{Schema: schema, FetchCooldown: time.Millisecond, FetchPollInterval: time.Hour})
		bus := tidingstest.NewBus(t)
		var mu sync.Mutex
		var order []int64
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("plain"), tidings.Via(jobs))
		failed := false
		tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
			mu.Lock()
			defer mu.Unlock()
			if !failed {
				failed = true
				return tidings.RetryAfter(errOnPurpose, 0)
			}
			order = append(order, e.Total)
			return nil
		}, tidings.Named("ordered"), tidings.Via(jobs), durable.InOrderBy(func(e Accepted) string { return e.Number }))
		start(t, jobs)
		require.NoError(t, h.transact(ctx, func(ctx context.Context) error {
			for i := range int64(3) {
				if err := tidings.Publish(ctx, bus, Accepted{Number: "key", Total: i}); err != nil {
					return err
				}
			}
			return nil
		}))
		done := `SELECT count(*) FROM "` + schema + `".river_job WHERE state = 'completed' AND kind = $1`
		require.Eventually(t, func() bool { return h.count(t, done, "plain") == 3 }, time.Minute, 5*time.Millisecond)
		// A job that is due later is not notified of: one that comes is.
		require.Eventually(t, func() bool {
			require.NoError(t, h.transact(ctx, func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{}) }))
			return h.count(t, done+" AND metadata ->> 'tidings_key' = 'key'", "ordered") == 3
		}, time.Minute, 100*time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		require.Subset(t, order, []int64{0, 1, 2})
	})
}

// Workers elsewhere hear of a job at once, through each kind of transaction.
func TestSendNotifiesWorkers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("River polls for notifications on SQLite")
		}
		jobs := h.jobs(t, river.Config{
			FetchCooldown: time.Millisecond, FetchPollInterval: time.Hour,
			Queues: map[string]river.QueueConfig{"mail": {MaxWorkers: 1}, river.QueueDefault: {MaxWorkers: 1}},
		})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("plain"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail"), tidings.Via(jobs), durable.Queue("mail"))
		start(t, jobs)
		for i := 1; i <= 3; i++ {
			require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{}) }))
			awaitJobs(t, h, 2*i, "state = 'completed'")
		}
	})
}

// The clock of Jobs is that of the jobs too, not the database's.
func TestSendByTheClock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if h.name != "sql" {
			t.Skip("River inserts, by the clock of its client")
		}
		then := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
		jobs := h.jobs(t, river.Config{}, durable.WithClock(func() time.Time { return then }))
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(jobs))
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{}) }))
		require.Equal(t, 1, storedJobs(t, h, "scheduled_at = $1", then))
	})
}

// What is stored is a CloudEvent that others can read.
func TestSendStoresACloudEvent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs, client := h.jobsAndClient(t, river.Config{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(jobs))
		event := tidings.Stamp(t.Context(), Accepted{Number: "7"})
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error { return tidings.Publish(ctx, bus, event) }))
		list, err := client.JobList(t.Context(), river.NewJobListParams())
		require.NoError(t, err)
		require.Len(t, list.Jobs, 1)
		text, err := newRegistry().Encode(event)
		require.NoError(t, err)
		require.JSONEq(t, string(text), string(list.Jobs[0].EncodedArgs))
		require.True(t, json.Valid(list.Jobs[0].Metadata))
	})
}
