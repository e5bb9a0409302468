package durable_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// machine is the clock of a process whose machine is ahead by so much. River
// leaves to the database what that compares with its own time.
type machine time.Duration

func (m machine) Now() time.Time         { return time.Now().Add(time.Duration(m)) }
func (machine) NowOrNil() *time.Time     { return nil }
func (m machine) option() durable.Option { return durable.WithClock(m.Now) }

// A wait is as long as it is asked for, whatever the clock of the process that
// failed says.
func TestWaitsOfASkewedClock(t *testing.T) {
	t.Parallel()
	const skew, wait = 2 * time.Minute, 2 * time.Second
	for _, tt := range []struct {
		name   string
		fail   func() error
		opts   tidings.SubscribeOptions
		atOnce bool // where the clock is behind
		reason string
	}{
		{"backoff", func() error { return errOnPurpose }, tidings.SubscribeOptions{tidings.Backoff(func(int) time.Duration { return wait })}, false, ""},
		{"after", func() error { return tidings.RetryAfter(errOnPurpose, wait) }, nil, false, ""},
		{"river", func() error { return errOnPurpose }, nil, true, "River's own policy cannot be asked, so a short wait begins in the past"},
		{"snooze", func() error { return river.JobSnooze(wait) }, nil, true, "so does a snooze"},
	} {
		for _, c := range []struct {
			name  string
			clock machine
		}{{"ahead", machine(skew)}, {"behind", machine(-skew)}} {
			t.Run(tt.name+" "+c.name, func(t *testing.T) {
				t.Parallel()
				each(t, func(t *testing.T, h harness) {
					config := river.Config{}
					config.Test.Time = c.clock
					skewed, right := h.jobs(t, config, c.clock.option()), h.jobs(t, river.Config{})
					bus := tidings.New()
					var calls atomic.Int64
					failed, again := make(chan time.Time, 1), make(chan time.Time, 1)
					tidings.Subscribe(bus, func(context.Context, Accepted) error {
						if calls.Add(1) == 1 {
							failed <- time.Now()
							return tt.fail()
						}
						again <- time.Now()
						return nil
					}, tidings.Named("handler"), tidings.Via(skewed), tidings.SubscribeOptions(tt.opts))
					elsewhere := tidings.New()
					tidings.Subscribe(elsewhere, func(context.Context, Accepted) error {
						again <- time.Now()
						return nil
					}, tidings.Named("handler"), tidings.Via(right), tidings.SubscribeOptions(tt.opts))

					require.NoError(t, tidings.Publish(t.Context(), elsewhere, Accepted{}))
					start(t, skewed)
					begun := <-failed
					awaitJobs(t, h, 1, "errors IS NOT NULL OR state IN ('available', 'scheduled', 'completed')")
					start(t, right)
					select {
					case at := <-again:
						waited := at.Sub(begun)
						if !(tt.atOnce && c.name == "behind") {
							require.Greater(t, waited, time.Second-200*time.Millisecond, tt.reason)
						}
					case <-time.After(time.Minute):
						t.Fatal("the next attempt is not due after a minute")
					}
				})
			})
		}
	}
}

// Whoever retries dead jobs may sit at a machine whose clock is ahead.
func TestRetryByASkewedClock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{}, machine(2*time.Minute).option())
		fill(t, h, 1, "discarded", time.Now())
		n, err := jobs.Retry(t.Context(), durable.Selection{All: true})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		due := "scheduled_at <= now()"
		if !h.postgres() {
			due = "scheduled_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')"
		}
		require.Equal(t, 1, storedJobs(t, h, "state = 'available' AND "+due))
	})
}
