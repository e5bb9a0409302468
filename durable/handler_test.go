package durable_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

// panicOf returns what f panics with, as a text; "" if it does not.
func panicOf(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	f()
	return ""
}

// The jobs of a name are for one handler. A second one would take them from the
// first, which would never run.
func TestANameThatIsTaken(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	for _, tt := range []struct {
		reason string
		second func(jobs *durable.Jobs, bus *tidings.EventBus)
		want   string
	}{
		{"the same event on another bus", func(jobs *durable.Jobs, bus *tidings.EventBus) {
			tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail.send"), tidings.Via(jobs))
		}, `"mail.send" for durable_test.Accepted`},
		{"another event", func(jobs *durable.Jobs, bus *tidings.EventBus) {
			tidings.Subscribe(bus, nothing[Created], tidings.Named("mail.send"), tidings.Via(jobs))
		}, `"mail.send" for durable_test.Created`},
		{"with options", func(jobs *durable.Jobs, bus *tidings.EventBus) {
			tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail.send"), tidings.Via(jobs), durable.Outside())
		}, `"mail.send" for durable_test.Accepted`},
		{"an alias works the jobs of that name", func(jobs *durable.Jobs, bus *tidings.EventBus) {
			tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail.deliver"), tidings.Via(jobs), durable.Alias("mail.send"))
		}, `"mail.deliver" for durable_test.Accepted`},
		{"the first one has that alias", func(jobs *durable.Jobs, bus *tidings.EventBus) {
			tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail.old"), tidings.Via(jobs))
		}, `"mail.old" for durable_test.Accepted`},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			jobs := h.jobs(t, river.Config{})
			first := tidings.Subscribe(tidingstest.NewBus(t), nothing[Accepted], tidings.Named("mail.send"), tidings.Via(jobs), durable.Alias("mail.old"))
			two := tidingstest.NewBus(t)
			refused := panicOf(func() { tt.second(jobs, two) })
			require.Contains(t, refused, tt.want)
			info := first.Info()
			require.Contains(t, refused, fmt.Sprintf(`"mail.send" for durable_test.Accepted at %s:%d`, info.File, info.Line), "the first place")
			require.Regexp(t, `(?s)handler_test\.go:\d+ .*handler_test\.go:\d+`, refused, "both places")
			require.Empty(t, two.Subscriptions(), "nothing is left of it")

			first.Unsubscribe()
			require.Empty(t, panicOf(func() { tt.second(jobs, two) }), "the name is free")
		})
	}
}

// A handler that is subscribed again, also on another bus, works what is stored.
func TestANameThatIsFreeAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		one, two := tidingstest.NewBus(t), tidingstest.NewBus(t)
		tidings.Subscribe(one, nothing[Accepted], tidings.Named("mail.send"), tidings.Via(jobs)).Unsubscribe()
		sub := tidings.Subscribe(one, nothing[Accepted], tidings.Named("mail.send"), tidings.Via(jobs))
		require.NoError(t, tidings.Publish(t.Context(), one, Accepted{Number: "1"}))
		start(t, jobs)
		awaitJobs(t, h, 1, "state = 'completed'")
		sub.Unsubscribe()
		got := make(chan string, 2)
		tidings.Subscribe(two, func(_ context.Context, e Accepted) error { got <- e.Number; return nil }, tidings.Named("mail.send"), tidings.Via(jobs))
		require.NoError(t, tidings.Publish(t.Context(), one, Accepted{Number: "nobody is subscribed there"}))
		require.NoError(t, tidings.Publish(t.Context(), two, Accepted{Number: "2"}))
		awaitJobs(t, h, 2, "state = 'completed'")
		require.Equal(t, "2", <-got)
	})
}

func TestOrderOfAnEventThatIsNotHandled(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	byEvent := durable.InOrderBy(func(tidings.Event) string { return "" })
	byCreated := durable.InOrderBy(func(Created) string { return "" })
	for _, tt := range []struct {
		reason    string
		subscribe func(*tidings.EventBus, *durable.Jobs)
		refused   bool
	}{
		{"another struct", func(b *tidings.EventBus, j *durable.Jobs) {
			tidings.Subscribe(b, nothing[Accepted], tidings.Named("work"), tidings.Via(j), byCreated)
		}, true},
		{"an interface that the event has not", func(b *tidings.EventBus, j *durable.Jobs) {
			tidings.Subscribe(b, nothing[Accepted], tidings.Named("work"), tidings.Via(j), durable.InOrderBy(func(numberer) string { return "" }))
		}, true},
		{"a struct that is none of the events", func(b *tidings.EventBus, j *durable.Jobs) {
			tidings.Subscribe(b, nothing[numberer], tidings.Named("work"), tidings.Via(j), byCreated)
		}, true},
		{"the event", func(b *tidings.EventBus, j *durable.Jobs) {
			tidings.Subscribe(b, nothing[Created], tidings.Named("work"), tidings.Via(j), byCreated)
		}, false},
		{"an interface that the event has", func(b *tidings.EventBus, j *durable.Jobs) {
			tidings.Subscribe(b, nothing[Created], tidings.Named("work"), tidings.Via(j), byEvent)
		}, false},
		{"one of the events, the others fail when they are published", func(b *tidings.EventBus, j *durable.Jobs) {
			tidings.Subscribe(b, nothing[tidings.Event], tidings.Named("work"), tidings.Via(j), byCreated)
		}, false},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			jobs := h.jobs(t, river.Config{})
			refused := panicOf(func() { tt.subscribe(tidingstest.NewBus(t), jobs) })
			if tt.refused {
				require.Contains(t, refused, "durable: InOrderBy has the key of durable_test.")
				require.Contains(t, refused, "handler_test.go:")
			} else {
				require.Empty(t, refused)
			}
		})
	}
}

type numberer interface {
	tidings.Event
	Numbered() int
}

// What a client could not work, or would work by the defaults of River, is
// refused when it is wired up.
func TestWorkersThatAreNotTheClients(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	newClient := func(config *river.Config) *river.Client[*sql.Tx] {
		config.Logger = slog.New(slog.DiscardHandler)
		client, err := river.NewClient(riversqlite.New(h.sql), config)
		require.NoError(t, err)
		return client
	}
	open := func(client *river.Client[*sql.Tx], workers *river.Workers) (*durable.Jobs, error) {
		return durable.New(client, workers, h.transactor, newRegistry())
	}

	plain := &river.Config{Queues: queues, Workers: river.NewWorkers()}
	_, err := open(newClient(plain), plain.Workers)
	require.ErrorContains(t, err, "durable: New: the configuration of the client did not pass through Configure")

	config := durable.Configure(&river.Config{Queues: queues})
	client := newClient(config)
	_, err = open(client, nil)
	require.ErrorContains(t, err, "durable: New without Workers for a client that has some")
	jobs, err := open(client, config.Workers)
	require.NoError(t, err)
	second, err := open(client, config.Workers)
	require.NoError(t, err, "the first has no handler yet")
	subscribe := func(jobs *durable.Jobs, name string) func() {
		return func() {
			tidings.Subscribe(tidingstest.NewBus(t), nothing[Accepted], tidings.Named(name), tidings.Via(jobs))
		}
	}
	require.Empty(t, panicOf(subscribe(jobs, "work")))
	require.Empty(t, panicOf(subscribe(jobs, "work2")))
	refused := panicOf(subscribe(second, "mail"))
	require.Contains(t, refused, `the handler "mail": the client has handlers of other Jobs already, made at `)
	require.Contains(t, refused, "handler_test.go:")

	other := durable.Configure(&river.Config{Queues: queues})
	jobs, err = open(client, other.Workers)
	require.NoError(t, err)
	require.Contains(t, panicOf(subscribe(jobs, "mail")), "the client has other Workers than New was given")

	_, err = open(newClient(&river.Config{}), nil)
	require.NoError(t, err, "a process that only publishes needs no Configure")
}
