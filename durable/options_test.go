package durable_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

func TestOptionsPanic(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string
		make       func()
	}{
		{"priority 0", "durable: Priority(0): a priority is between 1, which goes first, and 4", func() { durable.Priority(0) }},
		{"priority 5", "durable: Priority(5): a priority is between 1, which goes first, and 4", func() { durable.Priority(5) }},
		{"no queue", `durable: Queue(""): River asks for at most 64 small letters and digits, with single '_' or '-' between them`, func() { durable.Queue("") }},
		{"alias", `durable: Alias: "a" cannot be the name of a durable handler: River asks for 2 to 127 letters, digits and any of -_[]<>/.·:+, the first one a letter or digit`, func() { durable.Alias("crm.ok", "a") }},
		{"no key", "durable: InOrderBy(nil)", func() { durable.InOrderBy[Accepted](nil) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.PanicsWithValue(t, test.want, test.make)
		})
	}
}

func TestOptionsAtTheirLimits(t *testing.T) {
	t.Parallel()
	for _, make := range []func(){
		func() { durable.Priority(1) },
		func() { durable.Priority(4) },
		func() { durable.Alias() },
	} {
		require.NotPanics(t, make)
	}
}

// What River accepts as the name of a queue, and nothing else, is accepted.
func TestQueueNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		valid bool
	}{
		{"a", true}, {"mail", true}, {"mail2", true}, {"2", true}, {"a_b", true}, {"a-b_c", true}, {strings.Repeat("q", 64), true},
		{"", false}, {"Mail", false}, {"a b", false}, {"_a", false}, {"a_", false}, {"a__b", false}, {"a-_b", false}, {"é", false},
		{"mail\n", false}, {strings.Repeat("q", 65), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !tt.valid {
				require.Panics(t, func() { durable.Queue(tt.name) })
				return
			}
			h := openSQLite(t)
			jobs, client := h.jobsAndClient(t, river.Config{})
			bus := tidings.New()
			tidings.Subscribe(bus, func(context.Context, Accepted) error { return nil },
				tidings.Named("crm.work"), tidings.Via(jobs), durable.Queue(tt.name))
			publish(t, bus, Accepted{})
			row, err := client.JobGet(t.Context(), 1)
			require.NoError(t, err)
			require.Equal(t, tt.name, row.Queue)
		})
	}
}

// The same goes for the names of handlers, which are River's kinds.
func TestHandlerNames(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	for _, tt := range []struct {
		name  string
		valid bool
	}{
		{"ab", true}, {"crm.work", true}, {"_a", true}, {"A-[<>/.·:+]_1", true}, {strings.Repeat("n", 127), true},
		{"a", false}, {".a", false}, {"-a", false}, {"a b", false}, {"aé", false}, {"a,b", false}, {"ab\n", false}, {strings.Repeat("n", 128), false},
	} {
		if tt.valid {
			require.NotPanics(t, func() { durable.Alias(tt.name) }, tt.name)
			bus := tidings.New()
			jobs := h.jobs(t, river.Config{})
			tidings.Subscribe(bus, func(context.Context, Accepted) error { return nil }, tidings.Named(tt.name), tidings.Via(jobs))
			publish(t, bus, Accepted{})
		} else {
			require.Panics(t, func() { durable.Alias(tt.name) }, tt.name)
		}
	}
}

// Options combine; of two that say the same thing the last one counts, but
// aliases add up.
func TestWithCombinesOptions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		queues := map[string]river.QueueConfig{"mail": {MaxWorkers: 5}}
		jobs, client := h.jobsAndClient(t, river.Config{Queues: queues})
		bus, old := tidings.New(), tidings.New()
		failures := make(chan string, 10)
		waits := make(chan int, 10)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) < 50*time.Minute {
				failures <- "the Timeout does not count"
			}
			if hasTx(ctx) {
				failures <- "Outside does not count"
			}
			if e.Total == 1 {
				return context.DeadlineExceeded
			}
			return nil
		}, tidings.Named("crm.new"), tidings.Via(jobs), tidings.Attempts(9), tidings.Attempts(2),
			durable.Queue("other"), durable.Queue("mail"),
			durable.Priority(4), durable.Priority(3),
			tidings.Timeout(time.Nanosecond), tidings.Timeout(time.Hour),
			tidings.Backoff(func(int) time.Duration { return time.Hour }),
			tidings.Backoff(func(attempt int) time.Duration { waits <- attempt; return -time.Second }),
			durable.InOrderBy(func(Accepted) string { return "" }), inOrder,
			durable.Outside(),
			durable.Alias("crm.old"), durable.Alias("crm.older", "crm.oldest"))
		publish(t, bus, numbered("a", 1, 2)...)
		row, err := client.JobGet(t.Context(), jobID(t, h, 1))
		require.NoError(t, err)
		require.Equal(t, 2, row.MaxAttempts)
		require.Equal(t, "mail", row.Queue)
		require.Equal(t, 3, row.Priority)
		require.Equal(t, 1, pending(t, h))

		earlier := withoutWorkers(t, h)
		for _, name := range []string{"crm.old", "crm.older", "crm.oldest"} {
			tidings.Subscribe(old, func(context.Context, Accepted) error { return nil },
				tidings.Named(name), tidings.Via(earlier), durable.Queue("mail"))
		}
		publish(t, old, numbered("b", 3)...)
		start(t, jobs)
		require.Equal(t, 1, <-waits)
		inState(t, h, 1, "discarded")
		_, err = jobs.Discard(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		idle(t, h)
		require.Empty(t, failures)
	})
}

// A handler has its own settings.
func TestWithLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		work := func(context.Context, Accepted) error { return nil }
		tidings.Subscribe(bus, work, tidings.Named("crm.one"), tidings.Via(jobs), durable.Priority(3))
		tidings.Subscribe(bus, work, tidings.Named("crm.two"), tidings.Via(jobs), durable.Priority(2))
		tidings.Subscribe(bus, work, tidings.Named("crm.three"), tidings.Via(jobs))
		publish(t, bus, Accepted{})
		for kind, priority := range map[string]int{"crm.one": 3, "crm.two": 2, "crm.three": 1} {
			require.Equal(t, priority, h.count(t, `SELECT priority FROM river_job WHERE kind = $1`, kind))
		}
	})
}
