package durable_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	client, err := river.NewClient(riversqlite.New(h.sql), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	gap := &tidings.Registry{}
	tidings.Register[Accepted](gap, "crm.accepted", 3)
	tidings.Upcast(gap, "crm.accepted", 1, func(a Accepted) (Accepted, error) { return a, nil })
	for _, tt := range []struct {
		reason string
		open   func() (*durable.Jobs, error)
	}{
		{"nil Client", func() (*durable.Jobs, error) {
			return durable.New((*river.Client[int])(nil), nil, h.transactor, newRegistry())
		}},
		{"nil Transactor", func() (*durable.Jobs, error) { return durable.New(client, nil, tidings.Transactor{}, newRegistry()) }},
		{"nil Registry", func() (*durable.Jobs, error) { return durable.New(client, nil, h.transactor, nil) }},
		{"unsound Registry", func() (*durable.Jobs, error) { return durable.New(client, nil, h.transactor, gap) }},
		{"nil JobsOption", func() (*durable.Jobs, error) { return durable.New(client, nil, h.transactor, newRegistry(), nil) }},
	} {
		jobs, err := tt.open()
		require.ErrorContains(t, err, "durable: New", tt.reason)
		require.Nil(t, jobs, tt.reason)
	}
	for _, tt := range []struct {
		reason string
		build  func()
	}{
		{"WithBus", func() { durable.WithBus(nil) }},
		{"WithLogger", func() { durable.WithLogger(nil) }},
		{"WithClock", func() { durable.WithClock(nil) }},
		{"inject", func() {
			durable.WithTrace(nil, func(ctx context.Context, _ map[string]string) context.Context { return ctx })
		}},
		{"extract", func() { durable.WithTrace(func(context.Context) map[string]string { return nil }, nil) }},
	} {
		require.Panics(t, tt.build, tt.reason)
	}
}

// The kind of a worker of River's own cannot be the name of a handler.
func TestNameOfAnotherWorker(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[chore]) error { return nil }))
	jobs := h.jobs(t, river.Config{Workers: workers})
	refused := panicOf(func() {
		tidings.Subscribe(tidingstest.NewBus(t), nothing[Accepted], tidings.Named("chore"), tidings.Via(jobs))
	})
	require.Contains(t, refused, `durable: the handler "chore"`)
	require.Contains(t, refused, "already registered")
}

// A Transactor that opens no transaction would complete jobs beside it.
func TestTransactorWithoutTransaction(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	h.transactor.Run = func(ctx context.Context, body func(context.Context) error) error { return body(ctx) }
	logs := &logBuffer{}
	jobs := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
	bus := tidingstest.NewBus(t)
	tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), atOnce(jobs, tidings.Attempts(1)))
	start(t, jobs)
	require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
	awaitJobs(t, h, 1, "state = 'discarded'")
	require.True(t, logs.has("a job is dead", "the transaction in ctx has no *sql.Tx"), logs)
}

// Two buses share the jobs; each handler hears of its own one's events.
func TestTwoBuses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		got := make(chan string, 10)
		for _, name := range []string{"one", "two"} {
			bus := tidingstest.NewBus(t)
			tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
				got <- name + e.Number
				return nil
			}, tidings.Named(name), tidings.Via(jobs))
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: name}))
		}
		start(t, jobs)
		awaitJobs(t, h, 2, "state = 'completed'")
		require.ElementsMatch(t, []string{"oneone", "twotwo"}, []string{<-got, <-got})
		require.Empty(t, got)
	})
}

// Jobs that are stored for a handler that unsubscribes are not dropped: they
// die loudly, unless somebody subscribes by that name again.
func TestUnsubscribeWithJobsStored(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		logs := &logBuffer{}
		jobs := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
		bus := tidingstest.NewBus(t)
		handle := func(name string) *tidings.Subscription {
			return tidings.Subscribe(bus, nothing[Accepted], tidings.Named(name), atOnce(jobs, tidings.Attempts(2)))
		}
		gone, back := handle("gone"), handle("back")
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		gone.Unsubscribe()
		back.Unsubscribe()
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		require.Equal(t, 2, storedJobs(t, h, "true"), "nobody is subscribed")
		handle("back")
		start(t, jobs)
		awaitJobs(t, h, 1, "kind = 'back' AND state = 'completed'")
		awaitJobs(t, h, 1, "kind = 'gone' AND state = 'discarded'")
		require.True(t, logs.has("a job is dead", "handler=gone", "no longer subscribed"), logs)
	})
}

func TestPhase(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	jobs := h.jobs(t, river.Config{})
	require.Equal(t, tidings.BeforeCommit, jobs.Phase())
}
