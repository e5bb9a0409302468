package durabletest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/durable/durabletest"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		at   time.Time
	}{
		{"past", time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)},
		{"future", time.Date(2098, 1, 1, 0, 0, 0, 500_400, time.FixedZone("", 3600))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, db database) {
				r := newRigAt(t, db, &river.Config{}, tt.at)
				var log journal
				tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs))
				r.publish(t, Numbered{N: 1}, Numbered{N: 2})
				require.Empty(t, log.take())

				r.drain(t)
				require.Equal(t, []string{"a 1", "a 2"}, log.take())
				require.Equal(t, map[rivertype.JobState]int{rivertype.JobStateCompleted: 2}, r.states(t))
				r.drain(t)
				require.Empty(t, log.take())

				r.publish(t, Numbered{N: 3})
				r.drain(t)
				require.Equal(t, []string{"a 3"}, log.take())
			})
		})
	}
}

// A retry is due when the clock says so, and not before.
func TestDrainRetries(t *testing.T) {
	t.Parallel()
	failed := errors.New("no mail server")
	wait := func(d time.Duration) tidings.SubscribeOption {
		return tidings.Backoff(func(int) time.Duration { return d })
	}
	for _, tt := range []struct {
		name   string
		opts   tidings.SubscribeOptions
		err    error
		wait   time.Duration
		reason string
	}{
		{"minute", tidings.SubscribeOptions{wait(time.Minute)}, failed, time.Minute, "River makes it retryable, which only the scheduler changes"},
		{"second", tidings.SubscribeOptions{wait(time.Second)}, failed, time.Second, "River makes it available at once, and due later"},
		{"zero", tidings.SubscribeOptions{wait(0)}, failed, time.Millisecond, "the shortest there is"},
		{"negative", tidings.SubscribeOptions{wait(-time.Hour)}, failed, time.Millisecond, "is taken for 0"},
		{"after", nil, tidings.RetryAfter(failed, 90*time.Minute), 90 * time.Minute, "the handler decides"},
		{"after zero", nil, tidings.RetryAfter(failed, 0), time.Millisecond, "the shortest there is"},
		{"policy", nil, failed, time.Second, "River's own, without its random part"},
		{"snooze", nil, river.JobSnooze(time.Hour), time.Hour, "River's, passed on"},
		{"snooze zero", nil, river.JobSnooze(0), time.Millisecond, "otherwise it would run for ever"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, db database) {
				r := newRig(t, db, &river.Config{})
				var log journal
				again := true
				tidings.Subscribe(r.bus, log.noted("a", func(context.Context, Numbered) error {
					if again {
						return tt.err
					}
					return nil
				}), tidings.Named("test.a"), tidings.Via(r.jobs), tidings.SubscribeOptions(tt.opts))
				r.publish(t, Numbered{N: 1})

				r.drain(t)
				require.Equal(t, []string{"a 1"}, log.take(), tt.reason)
				r.drain(t)
				require.Empty(t, log.take(), "the clock stands still")
				r.clock.Advance(tt.wait - time.Millisecond)
				r.drain(t)
				if tt.wait > time.Millisecond {
					require.Empty(t, log.take(), "a millisecond is missing")
				}
				again = false
				r.clock.Advance(time.Millisecond)
				r.drain(t)
				require.Equal(t, []string{"a 1"}, log.take(), tt.reason)
				require.Equal(t, map[rivertype.JobState]int{rivertype.JobStateCompleted: 1}, r.states(t))
			})
		})
	}
}

// Nobody starts the workers of a test, and Drain says itself what it does not
// work: there is nothing to warn of.
func TestDrainWarnsOfNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		var logged bytes.Buffer
		r := newRig(t, db, &river.Config{})
		config := durabletest.Configure(&river.Config{}, r.clock.Now)
		_, r.jobs = r.connect(t, config, durable.WithClock(r.clock.Now), durable.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		var log journal
		tidings.Subscribe(r.bus, log.noted("mail", nil), tidings.Named("test.mail"), tidings.Via(r.jobs), durable.Queue("mail"))
		tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs))
		r.publish(t, Numbered{N: 1})
		require.ErrorContains(t, durabletest.Drain(t.Context(), r.jobs), `the queue "mail", which the client does not work`)
		require.Equal(t, []string{"a 1"}, log.take()[:1])
		require.Empty(t, logged.String())
	})
}
