package durable_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// What drivers, servers and panics say goes into the row of the job and into
// events, whatever it is.
func TestReasonsFromOutside(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		long := strings.Repeat("é", 1<<20)
		for i, tt := range []struct {
			reason string
			fail   func() error
			want   string
		}{
			{"plain", func() error { return errors.New("card declined") }, "card declined"},
			{"Latin-1", func() error { return errors.New("Kunde M\xfcller") }, "Kunde M\ufffdller"},
			{"NUL", func() error { return errors.New("a\x00b") }, "a\ufffdb"},
			{"half of a rune", func() error { return errors.New("a\xe2\x82") }, "a\ufffd"},
			{"a panic", func() error { panic("M\xfc\x00ller") }, "M\ufffd\ufffdller"},
			{"a panic with bytes", func() error { panic([]byte{0xff, 0}) }, ""},
			{"long", func() error { return errors.New(long) }, "é…"},
			{"long, and cut in a rune", func() error { return errors.New("a" + long) }, "é…"},
		} {
			for kind, wrap := range map[string]func(error) error{"permanent": tidings.Permanent, "exhausted": func(err error) error { return err }} {
				handler := fmt.Sprintf("ops.%s%d", kind, i)
				bus, read := logged(t, h, newRegistry())
				jobs := h.jobs(t, river.Config{}, durable.WithBus(bus))
				tidings.Subscribe(bus, func(context.Context, Accepted) error { return wrap(tt.fail()) }, tidings.Named(handler), atOnce(jobs, tidings.Attempts(2)))
				start(t, jobs)
				before := len(read("durable.job_died"))
				event := publishAll(t, bus, Accepted{})[0]
				job := eventuallyIn(t, jobs, event, handler, durable.Dead)
				died := read("durable.job_died")
				require.Len(t, died, before+1, "%s, %s", tt.reason, kind)
				for what, text := range map[string]string{"the event": aboutOf(died[before]).Reason, "the job": job.Reason()} {
					require.True(t, utf8.ValidString(text), "%s, %s", tt.reason, what)
					require.NotContains(t, text, "\x00", "%s, %s", tt.reason, what)
					require.True(t, strings.HasSuffix(text, tt.want), "%s, %s: %.100q", tt.reason, what, text)
					require.Less(t, len(text), 9<<10, "%s, %s", tt.reason, what)
				}
				_, err := jobs.Discard(t.Context(), durable.Selection{Handler: handler})
				require.NoError(t, err)
				require.Equal(t, job.Reason(), aboutOf(read("durable.job_discarded")[before]).Reason)
				stop(t, jobs)
			}
		}
	})
}

// A large number stands for no end, and is stored alike everywhere.
func TestAttemptsWithoutEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		for _, tt := range []struct{ n, want int }{{32_767, 32_767}, {32_768, 32_767}, {65_537, 32_767}, {math.MaxInt, 32_767}, {3, 3}} {
			jobs := h.jobs(t, river.Config{})
			bus := tidings.New()
			name := fmt.Sprintf("attempts.%d", tt.n)
			tidings.Subscribe(bus, nothing[Accepted], tidings.Named(name), tidings.Via(jobs), tidings.Attempts(tt.n))
			publish(t, bus, Accepted{})
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
			require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
				return errors.Join(tidings.Publish(ctx, bus, Accepted{}), tidings.Publish(ctx, bus, Accepted{}))
			}))
			require.Equal(t, 4, storedJobs(t, h, "kind = $1 AND max_attempts = "+fmt.Sprint(tt.want), name), "Attempts(%d)", tt.n)
		}
	})
}

// Waits and timeouts that have no end are not in the past, nor the times of
// selections.
func TestDurationsWithoutEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		forever := time.Duration(math.MaxInt64)
		tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error {
			if err := ctx.Err(); err != nil {
				return tidings.Permanent(err)
			}
			return errOnPurpose
		}, tidings.Named("by.backoff"), tidings.Via(jobs), tidings.Timeout(forever), tidings.Backoff(func(int) time.Duration { return forever }))
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return tidings.RetryAfter(errOnPurpose, forever) }, tidings.Named("by.error"), tidings.Via(jobs))
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return tidings.Permanent(errOnPurpose) }, tidings.Named("dead"), tidings.Via(jobs))
		start(t, jobs)
		event := publishAll(t, bus, Accepted{})[0]
		for _, name := range []string{"by.backoff", "by.error"} {
			job := eventuallyIn(t, jobs, event, name, durable.Retrying)
			require.Greater(t, job.DueAt.Year(), 2200, name)
			require.Equal(t, 1, job.Attempt, name)
		}
		eventuallyIn(t, jobs, event, "dead", durable.Dead)
		for _, tt := range []struct {
			before time.Time
			want   int
		}{
			{time.Now().AddDate(1, 0, 0), 1},
			{time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), 1},
			{time.Date(10_001, 1, 1, 0, 0, 0, 0, time.UTC), 1},
			{time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC), 1},
			{time.Unix(1<<60, 0), 1},
			{time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), 0},
			{time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC), 0},
		} {
			dead, err := jobs.Dead(t.Context(), durable.Selection{Before: tt.before})
			require.NoError(t, err, "%v", tt.before)
			require.Len(t, dead, tt.want, "%v", tt.before)
		}
	})
}

// What an operator types in is a name that no job has, and no error of one
// database.
func TestSelectionsFromOutside(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		fill(t, h, 2, "discarded", time.Now())
		for _, text := range []string{"a\x00b", "M\xfcller", "'; --", "%", "\\", strings.Repeat("x", 1<<20)} {
			for _, selected := range []durable.Selection{{Handler: text}, {EventType: text}} {
				dead, err := jobs.Dead(t.Context(), selected)
				require.NoError(t, err, "%.20q", text)
				require.Empty(t, dead, "%.20q", text)
				n, err := jobs.Discard(t.Context(), selected)
				require.NoError(t, err, "%.20q", text)
				require.Zero(t, n, "%.20q", text)
			}
		}
		require.Len(t, deadIDs(t, jobs, durable.Selection{}), 2)
	})
}

// A trace comes with a request, and is no reason to fail.
func TestTracesFromOutside(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		got := make(chan map[string]string, 2)
		jobs := h.jobs(t, river.Config{}, durable.WithTrace(
			func(context.Context) map[string]string {
				return map[string]string{"baggage": "M\xfcller\x00", "k\xff": "\"}"}
			},
			func(ctx context.Context, trace map[string]string) context.Context { got <- trace; return ctx }))
		bus := tidings.New()
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("crm.work"), tidings.Via(jobs))
		start(t, jobs)
		publish(t, bus, Accepted{})
		require.Equal(t, map[string]string{"baggage": "M\ufffdller\ufffd", "k\ufffd": "\"}"}, <-got)
	})
}
