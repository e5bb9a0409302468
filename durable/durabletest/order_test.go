package durabletest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

// 200 jobs of several queues and priorities, of which some fail, publish in
// turn and wait in line, run in the same order twice.
func TestDrainIsDeterministic(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, db database) []string {
		r := newRig(t, db, &river.Config{Queues: map[string]river.QueueConfig{"a": {MaxWorkers: 50}, "b": {MaxWorkers: 50}, river.QueueDefault: {MaxWorkers: 50}}})
		var log journal
		failed := map[string]bool{}
		for _, h := range []struct {
			name string
			opts tidings.SubscribeOptions
		}{
			{"test.a", tidings.SubscribeOptions{durable.Queue("a"), tidings.Backoff(func(int) time.Duration { return 0 })}},
			{"test.b", tidings.SubscribeOptions{durable.Queue("b"), tidings.Backoff(func(int) time.Duration { return time.Minute })}},
			{"test.first", tidings.SubscribeOptions{durable.Priority(1), durable.Outside()}},
			{"test.last", tidings.SubscribeOptions{durable.Priority(4)}},
			{"test.ordered", tidings.SubscribeOptions{durable.Priority(2), durable.InOrderBy(func(e Numbered) string { return fmt.Sprint(e.N % 3) })}},
		} {
			handle := log.noted(h.name, func(ctx context.Context, e Numbered) error {
				if id := fmt.Sprint(h.name, e); e.N%7 == 0 && !failed[id] {
					failed[id] = true
					return fmt.Errorf("%s fails once", id)
				}
				if e.N%10 == 0 {
					return tidings.Publish(ctx, r.bus, Numbered{Key: "again", N: e.N + 1})
				}
				return nil
			})
			tidings.Subscribe(r.bus, handle, tidings.Named(h.name), tidings.Via(r.jobs), tidings.SubscribeOptions(h.opts))
		}
		for n := range 13 {
			r.publish(t, Numbered{N: 2 * n}, Numbered{N: 2*n + 1})
			r.clock.Advance(time.Second)
		}
		r.drain(t)
		for range 10 {
			log.add("an hour later")
			r.clock.Advance(time.Hour)
			r.drain(t)
		}
		require.Len(t, r.states(t), 1, "%v: all are completed", r.states(t))
		return log.take()
	}
	for _, tt := range []struct {
		name string
		open func(testing.TB) database
	}{{"sqlite", openSQLite}, {"sql", openSQL}, {"pgx", openPgx}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first, second := run(t, tt.open(t)), run(t, tt.open(t))
			require.Equal(t, first, second)
			require.Greater(t, len(first), 200)
		})
	}
}

// Within a queue by priority, then by time, then by id.
func TestDrainOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		tidings.Subscribe(r.bus, log.noted("second", nil), tidings.Named("test.second"), tidings.Via(r.jobs), durable.Priority(2))
		tidings.Subscribe(r.bus, log.noted("first", nil), tidings.Named("test.first"), tidings.Via(r.jobs))
		r.publish(t, Numbered{N: 1}, Numbered{N: 2})
		r.clock.Advance(-time.Hour)
		r.publish(t, Numbered{N: 3})
		r.clock.Advance(time.Hour)
		r.drain(t)
		require.Equal(t, []string{"first 3", "first 1", "first 2", "second 3", "second 1", "second 2"}, log.take())
	})
}

// Queues take turns by name, and one that comes before gets what was published
// for it when the turn is over.
func TestDrainQueues(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{Queues: map[string]river.QueueConfig{"q1": {MaxWorkers: 5}, "q2": {MaxWorkers: 5}, "q3": {MaxWorkers: 5}}})
		var log journal
		running := make(chan struct{}, 1)
		for _, q := range []string{"q3", "q1", "q2"} {
			tidings.Subscribe(r.bus, log.noted(q, func(ctx context.Context, e Numbered) error {
				select {
				case running <- struct{}{}:
					defer func() { <-running }()
				default:
					log.add("%s does not run alone", q)
				}
				if q == "q2" && e.N == 1 {
					return tidings.Publish(ctx, r.bus, Numbered{N: 3})
				}
				return nil
			}), tidings.Named("test."+q), tidings.Via(r.jobs), durable.Queue(q))
		}
		r.publish(t, Numbered{N: 1}, Numbered{N: 2})
		r.drain(t)
		require.Equal(t, []string{"q1 1", "q1 2", "q2 1", "q2 2", "q2 3", "q1 3", "q3 1", "q3 2", "q3 3"}, log.take())
	})
}

// What a handler publishes is worked, however long the chain.
func TestDrainChain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		tidings.Subscribe(r.bus, log.noted("a", func(ctx context.Context, e Numbered) error {
			if e.N == 30 {
				return nil
			}
			return tidings.Publish(ctx, r.bus, Numbered{N: e.N + 1})
		}), tidings.Named("test.a"), tidings.Via(r.jobs))
		r.publish(t, Numbered{N: 1})
		r.drain(t)
		require.Len(t, log.take(), 30)
	})
}

// A job in line runs when the one before it is done, and not while that fails.
func TestDrainInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		broken := true
		byKey := durable.InOrderBy(func(e Numbered) string { return e.Key })
		tidings.Subscribe(r.bus, log.noted("a", func(_ context.Context, e Numbered) error {
			if e.Key == "x" && e.N == 2 && broken {
				return fmt.Errorf("broken")
			}
			return nil
		}), tidings.Named("test.a"), tidings.Via(r.jobs), byKey)
		r.publish(t, Numbered{Key: "x", N: 1}, Numbered{Key: "x", N: 2}, Numbered{Key: "x", N: 3}, Numbered{Key: "y", N: 1})
		r.drain(t)
		require.ElementsMatch(t, []string{"a x1", "a y1", "a x2"}, log.take())

		broken = false
		r.drain(t)
		require.Empty(t, log.take())
		r.clock.Advance(time.Second)
		r.drain(t)
		require.Equal(t, []string{"a x2", "a x3"}, log.take())
	})
}

// A line whose first job was deleted by hand goes on, as after Start.
func TestDrainRepairs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, db database) {
		r := newRig(t, db, &river.Config{})
		var log journal
		byKey := durable.InOrderBy(func(e Numbered) string { return e.Key })
		tidings.Subscribe(r.bus, log.noted("a", nil), tidings.Named("test.a"), tidings.Via(r.jobs), byKey)
		r.publish(t, Numbered{Key: "x", N: 1}, Numbered{Key: "x", N: 2})
		list, err := r.client.JobList(t.Context(), river.NewJobListParams().States(rivertype.JobStateAvailable))
		require.NoError(t, err)
		require.Len(t, list.Jobs, 1)
		_, err = r.client.JobDelete(t.Context(), list.Jobs[0].ID)
		require.NoError(t, err)
		r.drain(t)
		require.Equal(t, []string{"a x2"}, log.take())
	})
}
