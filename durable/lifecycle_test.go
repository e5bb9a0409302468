package durable_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// over is a context that has ended: Close cancels handlers at once.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// within fails the test unless f returns soon.
func within(t testing.TB, limit time.Duration, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		t.Fatalf("%s takes more than %v", what, limit)
		return nil
	}
}

type contextKey struct{}

func TestStartWithoutWorkers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := withoutWorkers(t, h)
		require.EqualError(t, jobs.Start(t.Context()), "durable: Start: this process has no workers: pass New the Workers of the client's configuration")
		require.NoError(t, jobs.Close(t.Context()))
	})
}

func TestStartWithoutHandlers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		err := jobs.Start(t.Context())
		require.ErrorContains(t, err, "durable: Start: at least one Worker must be added")
		require.NoError(t, jobs.Close(t.Context()))
	})
}

func TestStartStopAndStartAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		var d diary
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			d.write("%d %v", e.Total, ctx.Value(contextKey{}))
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), inOrder)
		ctx := t.Context()
		require.NoError(t, jobs.Close(ctx), "before Start")
		for i, run := range []string{"first", "second", "third"} {
			signalled, signal := context.WithCancel(context.WithValue(ctx, contextKey{}, run))
			require.NoError(t, jobs.Start(signalled))
			require.NoError(t, jobs.Start(signalled), "it runs already")
			signal() // handlers go on until Stop
			publish(t, bus, Accepted{Number: "a", Total: int64(i)})
			require.Eventually(t, func() bool { return len(d.of("")) == i+1 }, time.Minute, 5*time.Millisecond)
			require.NoError(t, jobs.Close(ctx))
			require.NoError(t, jobs.Close(ctx), "twice")
			require.NoError(t, jobs.Close(over()))
		}
		require.Equal(t, []string{"0 first", "1 second", "2 third"}, d.of(""))
	})
}

func TestStartFailsWhenTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		for _, with := range []tidings.SubscribeOption{inOrder, quickly} {
			away := openAt(t, h.name, h.url)
			jobs := away.jobs(t, river.Config{})
			tidings.Subscribe(tidings.New(), func(context.Context, Accepted) error { return nil },
				tidings.Named("crm.work"), tidings.Via(jobs), with)
			if away.sql != nil {
				require.NoError(t, away.sql.Close())
			}
			if away.pool != nil {
				away.pool.Close()
			}
			err := within(t, time.Minute, "Start", func() error { return jobs.Start(t.Context()) })
			require.ErrorContains(t, err, "durable: Start: ")
			require.ErrorContains(t, err, "closed")
			require.Error(t, jobs.Start(t.Context()), "it is not started, so it is tried again")
			require.NoError(t, jobs.Close(t.Context()))
		}
	})
}

// blocked is a handler that waits.
type blocked struct {
	began   chan struct{}
	release chan struct{}
}

func newBlocked() *blocked { return &blocked{make(chan struct{}, 100), make(chan struct{})} }

func TestStopWaitsForHandlers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		b := newBlocked()
		var d diary
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			b.began <- struct{}{}
			<-b.release
			d.write("%v", ctx.Err())
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), durable.Outside()) // SQLite has one writer
		publish(t, bus, Accepted{})
		start(t, jobs)
		<-b.began

		var stops sync.WaitGroup
		for range 3 { // at once
			stops.Go(func() { d.write("%v", jobs.Close(context.Background())) })
		}
		require.Eventually(t, func() bool { return jobs.Start(t.Context()) != nil }, time.Minute, time.Millisecond)
		require.EqualError(t, jobs.Start(t.Context()), "durable: Start: the workers are stopping: wait until Close returns nil")
		publish(t, bus, Accepted{})
		close(b.release)
		stops.Wait()
		// River may have been about to fetch the second one when it was told.
		done := h.count(t, `SELECT count(*) FROM river_job WHERE state = 'completed'`)
		require.Contains(t, []int{1, 2}, done)
		require.Equal(t, slices.Repeat([]string{"<nil>"}, 3+done), d.of(""))
		require.Equal(t, 2-done, h.count(t, `SELECT count(*) FROM river_job WHERE state = 'available'`), "none is left running")
		publish(t, bus, Accepted{})
		require.Equal(t, 3-done, h.count(t, `SELECT count(*) FROM river_job WHERE state = 'available'`), "no more jobs are taken")
	})
}

// An attempt that ends because of Close is as if it had not been.
func TestStopInterruptsHandlers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		for _, test := range []struct {
			name    string
			options tidings.SubscribeOptions
			fail    func(ctx context.Context) error
			reason  string
		}{
			{"cancelled", nil, context.Cause, "what most return"},
			{"another", nil, func(context.Context) error { return errors.New("it did not work") }, "a handler has its own words"},
			{"permanent", nil, func(context.Context) error { return tidings.Permanent(errors.New("no")) }, "it cannot know"},
			{"statement", nil, func(ctx context.Context) error { return h.exec(ctx, `SELECT 1`) }, "so has a driver"},
			{"nil", nil, func(context.Context) error { return nil }, "the transaction of an ended context does not commit"},
			{"outside", tidings.SubscribeOptions{durable.Outside()}, func(ctx context.Context) error { return ctx.Err() }, "there is no transaction"},
			{"order", tidings.SubscribeOptions{inOrder}, func(ctx context.Context) error { return ctx.Err() }, "the head stays the head"},
			{"last", tidings.SubscribeOptions{tidings.Attempts(1)}, func(ctx context.Context) error { return ctx.Err() }, "nor is it dead"},
		} {
			t.Run(test.name, func(t *testing.T) {
				require.NoError(t, h.exec(t.Context(), `DELETE FROM river_job`))
				jobs, client := h.jobsAndClient(t, river.Config{})
				bus := tidings.New()
				b := newBlocked()
				tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
					b.began <- struct{}{}
					<-ctx.Done()
					return test.fail(ctx)
				}, tidings.Named("crm.work"), tidings.Via(jobs), tidings.SubscribeOptions(test.options))
				publish(t, bus, Accepted{Number: "a"})
				start(t, jobs)
				<-b.began
				soft, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				require.NoError(t, within(t, time.Minute, "Close", func() error { return jobs.Close(soft) }))

				row, err := client.JobGet(t.Context(), int64(h.count(t, `SELECT max(id) FROM river_job`)))
				require.NoError(t, err)
				require.Equal(t, "available", string(row.State), test.reason)
				require.Zero(t, row.Attempt, test.reason)
				require.Empty(t, row.Errors, test.reason)
			})
		}
	})
}

// Each call of Close ends by its own context. It takes five seconds.
func TestStopWithAHandlerThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		b := newBlocked()
		tidings.Subscribe(bus, func(context.Context, Accepted) error {
			b.began <- struct{}{}
			<-b.release
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), durable.Outside())
		publish(t, bus, Accepted{})
		start(t, jobs)
		<-b.began
		patient := make(chan error, 1)
		go func() { patient <- jobs.Close(context.Background()) }()

		began := time.Now()
		err := within(t, time.Minute, "Close", func() error { return jobs.Close(over()) })
		require.ErrorContains(t, err, "durable: Close: a handler does not end although its context has: ")
		require.ErrorIs(t, err, context.Canceled)
		require.GreaterOrEqual(t, time.Since(began), 5*time.Second)
		require.Empty(t, patient)
		require.ErrorContains(t, jobs.Start(t.Context()), "the workers are stopping")

		close(b.release)
		require.NoError(t, within(t, time.Minute, "Close", func() error { return jobs.Close(context.Background()) }))
		require.NoError(t, <-patient)
		require.NoError(t, jobs.Start(t.Context()))
	})
}

func TestStopInsideAHandler(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		stopped := make(chan error, 100)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			soft, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			stopped <- jobs.Close(soft) // it waits for itself
			return nil
		}, tidings.Named("crm.work"), tidings.Via(jobs), durable.Outside())
		publish(t, bus, Accepted{})
		start(t, jobs)
		require.ErrorContains(t, <-stopped, "a handler does not end")
		require.NoError(t, jobs.Close(t.Context()))
		require.Equal(t, 1, h.count(t, `SELECT count(*) FROM river_job WHERE state = 'completed'`))
	})
}

// goroutines returns the stacks of what this process runs for handlers.
func goroutines() (ours []string) {
	var all bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, "riverqueue/river.") || strings.Contains(stack, "durable.(*Jobs)") {
			ours = append(ours, stack)
		}
	}
	return ours
}

// Not parallel, since the goroutines are those of the process.
func TestStopLeavesNoGoroutine(t *testing.T) {
	h := openSQLite(t)
	before := runtime.NumGoroutine()
	for range 2 {
		jobs := h.jobs(t, river.Config{})
		bus := tidings.New()
		done := make(chan struct{})
		tidings.Subscribe(bus, func(context.Context, Accepted) error { close(done); return nil },
			tidings.Named("crm.work"), tidings.Via(jobs), inOrder)
		publish(t, bus, Accepted{Number: "a"})
		start(t, jobs)
		<-done
		require.NotEmpty(t, goroutines())
		require.NoError(t, jobs.Close(t.Context()))
		require.Eventually(t, func() bool { return len(goroutines()) == 0 }, time.Minute, 10*time.Millisecond, "%q", goroutines())
	}
	// Those of the pool of connections may stay.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+10 }, time.Minute, 10*time.Millisecond)
}
