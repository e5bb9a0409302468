package durabletest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/durable/durabletest"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestDrainUnworkedQueue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		tidings.Subscribe(r.bus, log.noted("mail", nil), tidings.Named("test.mail"), tidings.Via(r.jobs), durable.Queue("mail"))
		tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs))
		r.publish(t, Numbered{N: 1})
		err := durabletest.Drain(t.Context(), r.jobs)
		require.EqualError(t, err, `durabletest: Drain: jobs are due in the queue "mail", which the client does not work: add it to the Queues in its configuration`)
		require.Equal(t, []string{"a 1"}, log.take(), "what can be worked is")
		require.Error(t, durabletest.Drain(t.Context(), r.jobs), "also if there is nothing else")
	})
}

func TestDrainPausedQueue(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		tidings.Subscribe(r.bus, log.noted("a", func(ctx context.Context, e Numbered) error {
			if e.N == 1 {
				return r.client.QueuePause(ctx, river.QueueDefault, nil)
			}
			return nil
		}), tidings.Named("test.a"), tidings.Via(r.jobs), durable.Outside())
		r.publish(t, Numbered{N: 1})
		r.drain(t)
		require.Equal(t, []string{"a 1"}, log.take())
		r.publish(t, Numbered{N: 2})
		require.EqualError(t, durabletest.Drain(t.Context(), r.jobs), `durabletest: Drain: jobs are due in the queue "default", which is paused`)
		require.Empty(t, log.take())
		require.NoError(t, r.client.QueueResume(t.Context(), river.QueueDefault, nil))
		r.drain(t)
		require.Equal(t, []string{"a 2"}, log.take())
	})
}

// When ctx ends, the attempt that runs is interrupted and does not count.
func TestDrainInterrupted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		ctx, cancel := context.WithCancel(t.Context())
		hang := true
		tidings.Subscribe(r.bus, log.noted("a", func(ctx context.Context, e Numbered) error {
			if !hang {
				return nil
			}
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}), tidings.Named("test.a"), tidings.Via(r.jobs))
		r.publish(t, Numbered{N: 1}, Numbered{N: 2})

		err := durabletest.Drain(ctx, r.jobs)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, `durabletest: Drain: context canceled, and jobs are left: "test.a" (job 1 in the queue "default", available, attempt 0), "test.a" (job 2 in the queue "default", available, attempt 0)`)
		require.Equal(t, []string{"a 1"}, log.take())

		hang = false
		r.drain(t)
		require.Len(t, log.take(), 2)
		require.Equal(t, map[rivertype.JobState]int{rivertype.JobStateCompleted: 2}, r.states(t))
	})
}

func TestDrainOfEndedContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs))
		r.publish(t, make([]Numbered, 7)...)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := durabletest.Drain(ctx, r.jobs)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "attempt 0), 2 more")
		require.Empty(t, log.take())
	})
}

func TestDrainRefuses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		var log journal
		newJobs := func(t *testing.T) *rig {
			r := newRig(t, db, &river.Config{})
			tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs))
			return r
		}
		r := newJobs(t)
		r.publish(t, Numbered{N: 1})

		require.EqualError(t, durabletest.Drain(t.Context(), nil), "durabletest: Drain with nil Jobs")

		_, plain := r.connect(t, durable.Configure(&river.Config{Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}}))
		require.EqualError(t, durabletest.Drain(t.Context(), plain), "durabletest: Drain: the client is not configured for this: use durabletest.Configure, and pass durable.New the Workers of that configuration")
		_, storing := r.connect(t, &river.Config{})
		require.ErrorContains(t, durabletest.Drain(t.Context(), storing), "the client is not configured for this")

		_, timeless := r.connect(t, r.config)
		require.ErrorContains(t, durabletest.Drain(t.Context(), timeless), "pass durable.New the option durable.WithClock with the clock that Configure has")

		require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
			require.ErrorContains(t, durabletest.Drain(ctx, r.jobs), "ctx is in a transaction")
			return nil
		}))
		require.Empty(t, log.take())

		started := newJobs(t)
		require.NoError(t, started.jobs.Start(t.Context()))
		require.EqualError(t, durabletest.Drain(t.Context(), started.jobs), "durabletest: Drain: the workers are started: leave Start out, or call Close before")
		require.NoError(t, started.jobs.Close(t.Context()))
		require.NoError(t, durabletest.Drain(t.Context(), started.jobs))
	})
}

func TestDrainInSandbox(t *testing.T) {
	t.Parallel()
	r := newRig(t, openSQLite(t), &river.Config{})
	ctx, _ := tidingstest.Sandbox(t, r.sql)
	require.ErrorContains(t, durabletest.Drain(ctx, r.jobs), "ctx is in a transaction")
}

func TestDrainInHandler(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var inner error
		tidings.Subscribe(r.bus, func(ctx context.Context, _ Numbered) error {
			inner = durabletest.Drain(ctx, r.jobs)
			return nil
		}, tidings.Named("test.a"), tidings.Via(r.jobs), durable.Outside())
		r.publish(t, Numbered{N: 1})
		r.drain(t)
		require.EqualError(t, inner, "durabletest: Drain: another Drain works these jobs")
	})
}

// After Drain the client has its queues, and works them when it is started.
func TestDrainThenStart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{Queues: map[string]river.QueueConfig{"a": {MaxWorkers: 3}, "b": {MaxWorkers: 3}}})
		worked := make(chan string, 2)
		for _, q := range []string{"a", "b"} {
			tidings.Subscribe(r.bus, func(_ context.Context, e Numbered) error {
				worked <- q
				return nil
			}, tidings.Named("test."+q), tidings.Via(r.jobs), durable.Queue(q))
		}
		r.publish(t, Numbered{N: 1})
		r.drain(t)
		require.Equal(t, "a", <-worked)
		require.Equal(t, "b", <-worked)

		require.NoError(t, r.jobs.Start(t.Context()))
		r.publish(t, Numbered{N: 2})
		require.ElementsMatch(t, []string{"a", "b"}, []string{<-worked, <-worked})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, r.jobs.Close(ctx))
	})
}

// Jobs that are dead are done with, and Drain has no error.
func TestDrainDead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		refused := errors.New("refused")
		tidings.Subscribe(r.bus, log.noted("a", func(context.Context, Numbered) error { return tidings.Permanent(refused) }), tidings.Named("test.a"), tidings.Via(r.jobs))
		tidings.Subscribe(r.bus, log.noted("b", func(context.Context, Numbered) error { panic("a bug") }), tidings.Named("test.b"), tidings.Via(r.jobs), tidings.Attempts(1))
		r.publish(t, Numbered{N: 1})
		r.drain(t)
		require.Equal(t, []string{"a 1", "b 1"}, log.take())
		require.Equal(t, map[rivertype.JobState]int{rivertype.JobStateCancelled: 1, rivertype.JobStateDiscarded: 1}, r.states(t))
	})
}
