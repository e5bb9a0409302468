package durable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

// A logBuffer keeps what is logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// has reports whether one line has all of these.
func (b *logBuffer) has(parts ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.text.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return true
		}
	}
	return false
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// job returns the job of the handler of that name.
func job(t testing.TB, c client, name string) *rivertype.JobRow {
	t.Helper()
	list, err := c.JobList(t.Context(), river.NewJobListParams().Kinds(name))
	require.NoError(t, err)
	require.Len(t, list.Jobs, 1)
	return list.Jobs[0]
}

// What becomes of a job whose handler does the same at every attempt.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	type outcome struct {
		name    string
		handle  func(ctx context.Context) error
		opts    tidings.SubscribeOptions
		state   rivertype.JobState
		attempt int
		errors  []string // what each attempt's has
		loud    []string // what the line about a dead job has
	}
	fails := func(context.Context) error { return errOnPurpose }
	permanent := tidings.Permanent(errOnPurpose)
	const discarded, cancelled, completed, retryable = rivertype.JobStateDiscarded, rivertype.JobStateCancelled, rivertype.JobStateCompleted, rivertype.JobStateRetryable
	tests := []outcome{
		{name: "exhausted", handle: fails, opts: tidings.SubscribeOptions{tidings.Attempts(3)}, state: discarded, attempt: 3,
			errors: []string{"on purpose", "on purpose", "on purpose"}, loud: []string{"attempt=3", "on purpose"}},
		{name: "only.one", handle: fails, opts: tidings.SubscribeOptions{tidings.Attempts(1)}, state: discarded, attempt: 1, errors: []string{"on purpose"}, loud: []string{"attempt=1"}},
		{name: "permanent", handle: func(context.Context) error { return permanent }, state: cancelled, attempt: 1, errors: []string{"failing on purpose"}, loud: []string{"attempt=1"}},
		{name: "wrapped", handle: func(context.Context) error { return fmt.Errorf("calling: %w", permanent) }, state: cancelled, attempt: 1, errors: []string{"calling: failing"}, loud: []string{"calling: failing"}},
		{name: "joined", handle: func(context.Context) error { return errors.Join(errors.New("one"), permanent) }, state: cancelled, attempt: 1, errors: []string{"one"}, loud: []string{"one"}},
		{name: "cancelled", handle: func(context.Context) error { return river.JobCancel(errOnPurpose) }, state: cancelled, attempt: 1, errors: []string{"on purpose"}, loud: []string{"on purpose"}},
		{name: "permanent.last", handle: func(context.Context) error { return permanent }, opts: tidings.SubscribeOptions{tidings.Attempts(1)}, state: cancelled, attempt: 1, errors: []string{"on purpose"}, loud: []string{"on purpose"}},
		{name: "snoozed", handle: func(context.Context) error { return fmt.Errorf("later: %w", river.JobSnooze(time.Hour)) }, opts: tidings.SubscribeOptions{tidings.Attempts(1)}, state: rivertype.JobStateScheduled, attempt: 0},
		{name: "panics", handle: func(context.Context) error { panicsHere(); return nil }, opts: tidings.SubscribeOptions{tidings.Attempts(2)}, state: discarded, attempt: 2,
			errors: []string{"panic: oh no", "panic: oh no"}, loud: []string{"attempt=2", "oh no", "panicsHere"}},
		{name: "goexit", handle: func(context.Context) error { runtime.Goexit(); return nil }, opts: tidings.SubscribeOptions{tidings.Attempts(2)}, state: discarded, attempt: 2,
			errors: []string{"runtime.Goexit", "runtime.Goexit"}, loud: []string{"runtime.Goexit"}},
		{name: "nul", handle: func(context.Context) error { return errors.New("bad\x00text \xff") }, opts: tidings.SubscribeOptions{tidings.Attempts(2)}, state: discarded, attempt: 2,
			errors: []string{"bad\ufffdtext", "bad\ufffdtext"}, loud: []string{"bad"}},
		{name: "nul.permanent", handle: func(context.Context) error { return tidings.Permanent(errors.New("bad\x00text")) }, state: cancelled, attempt: 1, errors: []string{"bad\ufffdtext"}, loud: []string{"bad"}},
		{name: "nul.snoozed", handle: func(context.Context) error { return fmt.Errorf("\x00%w", river.JobSnooze(time.Hour)) }, state: rivertype.JobStateScheduled, attempt: 0},
		{name: "timeout", handle: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, opts: tidings.SubscribeOptions{tidings.Attempts(2), tidings.Timeout(time.Second)}, state: discarded, attempt: 2,
			errors: []string{"deadline exceeded", "deadline exceeded"}, loud: []string{"deadline exceeded"}},
		{name: "own.context", handle: func(context.Context) error { return context.Canceled }, opts: tidings.SubscribeOptions{tidings.Attempts(2)}, state: discarded, attempt: 2,
			errors: []string{"canceled", "canceled"}, loud: []string{"canceled"}},
		{name: "backoff.long", handle: fails, opts: tidings.SubscribeOptions{tidings.Backoff(func(int) time.Duration { return time.Hour })}, state: retryable, attempt: 1, errors: []string{"on purpose"}},
		{name: "backoff.panics", handle: fails, opts: tidings.SubscribeOptions{tidings.Backoff(func(int) time.Duration { panic("oh no") })}, state: retryable, attempt: 1, errors: []string{"on purpose"}},
		{name: "after.long", handle: func(context.Context) error {
			return fmt.Errorf("busy: %w", tidings.RetryAfter(errOnPurpose, time.Hour))
		}, state: retryable, attempt: 1, errors: []string{"busy: failing"}},
		{name: "after.last", handle: func(context.Context) error { return tidings.RetryAfter(errOnPurpose, time.Hour) }, opts: tidings.SubscribeOptions{tidings.Attempts(1)}, state: discarded, attempt: 1, errors: []string{"on purpose"}, loud: []string{"on purpose"}},
		{name: "after.permanent", handle: func(context.Context) error { return tidings.RetryAfter(permanent, time.Hour) }, state: cancelled, attempt: 1, errors: []string{"on purpose"}, loud: []string{"on purpose"}},
	}
	each(t, func(t *testing.T, h harness) {
		logs := &logBuffer{}
		// The policy of the client is one that no test waits for.
		jobs, client := h.jobsAndClient(t, river.Config{RetryPolicy: policy(2 * time.Hour)}, durable.WithLogger(logs.logger()))
		bus := tidings.New(tidings.WithErrorHandler(func(context.Context, error) {})) // it hears of Goexit, too
		for _, tt := range tests {
			opts := append(tidings.SubscribeOptions{tidings.Backoff(func(int) time.Duration { return 0 })}, tt.opts...)
			tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error { return tt.handle(ctx) }, tidings.Named(tt.name), tidings.Via(jobs), tidings.SubscribeOptions(opts))
		}
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("good"), tidings.Via(jobs))
		event := tidings.Stamp(t.Context(), Accepted{})
		require.NoError(t, tidings.Publish(t.Context(), bus, event))
		start(t, jobs)
		for _, tt := range tests {
			awaitJobs(t, h, 1, "kind = '"+tt.name+"' AND state = '"+string(tt.state)+"'")
			row := job(t, client, tt.name)
			require.Equal(t, tt.attempt, row.Attempt, tt.name)
			require.Len(t, row.Errors, len(tt.errors), tt.name)
			for i, want := range tt.errors {
				require.Contains(t, row.Errors[i].Error, want, tt.name)
			}
			dead := []string{"a job is dead", "handler=" + tt.name + " ", "level=ERROR", "event_type=crm.accepted", event.EventID().String()}
			require.Equal(t, len(tt.loud) > 0, logs.has(append(dead, tt.loud...)...), "%s: %s", tt.name, logs)
			if len(tt.loud) == 0 {
				require.False(t, logs.has("a job is dead", "handler="+tt.name+" "), tt.name)
			}
		}
		require.True(t, logs.has("a handler panicked", "handler=panics ", "attempt=1", "panicsHere"))
		require.True(t, logs.has("the Backoff of a handler panicked", "handler=backoff.panics "))
		awaitJobs(t, h, 1, "kind = 'good' AND state = 'completed'")
		due := func(name string) time.Duration {
			return time.Until(job(t, client, name).ScheduledAt).Round(10 * time.Minute)
		}
		require.Equal(t, time.Hour, due("backoff.long"))
		require.Equal(t, 2*time.Hour, due("backoff.panics"))
		require.Equal(t, time.Hour, due("after.long"))
	})
}

func panicsHere() { panic("oh no") }

type policy time.Duration

func (p policy) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(time.Duration(p)) }

// The waits between attempts, and who says so.
func TestWaits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs, client := h.jobsAndClient(t, river.Config{})
		bus := tidingstest.NewBus(t)
		var waits sync.Map
		var calls, zero atomic.Int64
		tidings.Subscribe(bus, func(context.Context, Accepted) error {
			calls.Add(1)
			return errOnPurpose
		}, tidings.Named("own"), tidings.Via(jobs), tidings.Attempts(4), tidings.Backoff(func(attempt int) time.Duration {
			waits.Store(attempt, true)
			return -time.Second // as good as 0
		}))
		tidings.Subscribe(bus, func(context.Context, Accepted) error {
			if zero.Add(1) == 5 {
				return nil
			}
			return tidings.RetryAfter(errOnPurpose, 0)
		}, tidings.Named("zero"), tidings.Via(jobs), tidings.Backoff(func(int) time.Duration { return time.Hour }))
		tidings.Subscribe(bus, func(context.Context, Accepted) error { return errOnPurpose }, tidings.Named("river"), tidings.Via(jobs))
		start(t, jobs)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		awaitJobs(t, h, 1, "kind = 'own' AND state = 'discarded'")
		awaitJobs(t, h, 1, "kind = 'zero' AND state = 'completed'")
		for attempt, want := range map[int]bool{0: false, 1: true, 2: true, 3: true, 4: false} {
			_, have := waits.Load(attempt)
			require.Equal(t, want, have, attempt)
		}
		require.EqualValues(t, 4, calls.Load())
		require.EqualValues(t, 5, zero.Load())
		awaitJobs(t, h, 1, "kind = 'river' AND errors IS NOT NULL")
		row := job(t, client, "river")
		if row.Attempt == 1 { // a second and a tenth of it more or less, from when it failed
			require.WithinRange(t, row.ScheduledAt, row.AttemptedAt.Add(890*time.Millisecond), time.Now().Add(1110*time.Millisecond), "River's policy")
		}
	})
}

// A timeout of the handler's own, shorter and longer than the client's.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{JobTimeout: 2 * time.Hour})
		bus := tidingstest.NewBus(t)
		var left sync.Map
		handle := func(name string, opts ...tidings.SubscribeOption) {
			tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error {
				deadline, _ := ctx.Deadline()
				left.Store(name, time.Until(deadline))
				return nil
			}, tidings.Named(name), tidings.Via(jobs), tidings.SubscribeOptions(opts))
		}
		handle("client")
		handle("short", tidings.Timeout(time.Hour))
		handle("long", tidings.Timeout(3*time.Hour))
		start(t, jobs)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		awaitJobs(t, h, 3, "state = 'completed'")
		for _, tt := range []struct {
			name string
			want time.Duration
		}{{"client", 2 * time.Hour}, {"short", time.Hour}, {"long", 3 * time.Hour}} {
			have, _ := left.Load(tt.name)
			require.InDelta(t, tt.want, have, float64(10*time.Minute), tt.name)
		}
	})
}

// Handlers that end their goroutine leave the workers as they were.
func TestGoexitTakesNoWorkerAway(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}})
		bus := tidings.New(tidings.WithErrorHandler(func(context.Context, error) {})) // it hears of Goexit, too
		effects(t, h)
		var calls atomic.Int64
		exits := func(ctx context.Context, e Accepted) error {
			if err := h.effect(ctx, "exit"); err != nil {
				return err
			}
			if calls.Add(1) <= 3 {
				runtime.Goexit()
			}
			return nil
		}
		tidings.Subscribe(bus, exits, tidings.Named("exits"), atOnce(jobs))
		start(t, jobs)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		awaitJobs(t, h, 1, "state = 'completed' AND attempt = 4")
		require.Equal(t, 1, h.effects(t, "exit"))
	})
}

// Close cuts an attempt off, whatever its error is, and that does not count.
func TestInterruptedAttempts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		fail func(context.Context) error
	}{
		{"ctx", func(ctx context.Context) error { return ctx.Err() }},
		{"other", func(context.Context) error { return errOnPurpose }},
		{"permanent", func(context.Context) error { return tidings.Permanent(errOnPurpose) }},
		{"cancel", func(context.Context) error { return river.JobCancel(errOnPurpose) }},
		{"none", func(context.Context) error { return nil }}, // the commit fails
	}
	each(t, func(t *testing.T, h harness) {
		for _, tt := range tests {
			require.NoError(t, h.exec(t.Context(), "DELETE FROM river_job"))
			logs := &logBuffer{}
			jobs := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
			bus := tidingstest.NewBus(t)
			entered := make(chan struct{})
			tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error {
				close(entered)
				<-ctx.Done()
				return tt.fail(ctx)
			}, tidings.Named("handler"), atOnce(jobs, tidings.Attempts(1)))
			start(t, jobs)
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
			<-entered
			now, cancel := context.WithCancel(t.Context())
			cancel()
			require.NoError(t, jobs.Close(now), tt.name)
			require.Equal(t, 1, storedJobs(t, h, "state = 'available' AND attempt = 0 AND finalized_at IS NULL"), tt.name)
			require.False(t, logs.has("a job is dead"), tt.name)
		}
	})
}

// A job that somebody cancels while it runs is dead; that person knows, so it
// is no error.
func TestCancelledRemotely(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("on SQLite the handler holds the lock that cancelling waits for")
		}
		logs := &logBuffer{}
		jobs, client := h.jobsAndClient(t, river.Config{}, durable.WithLogger(logs.logger()))
		bus := tidingstest.NewBus(t)
		entered := make(chan struct{}, 1)
		tidings.Subscribe(bus, func(ctx context.Context, _ Accepted) error {
			entered <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}, tidings.Named("handler"), atOnce(jobs))
		start(t, jobs)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		<-entered
		_, err := client.JobCancel(t.Context(), job(t, client, "handler").ID)
		require.NoError(t, err)
		awaitJobs(t, h, 1, "state = 'cancelled'")
		require.False(t, logs.has("a job is dead"), logs)
	})
}
