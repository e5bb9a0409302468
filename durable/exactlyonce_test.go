package durable_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/tidingstest"
)

// effects makes a table in which handlers leave their effects.
func effects(t testing.TB, h harness) {
	t.Helper()
	require.NoError(t, h.exec(t.Context(), "CREATE TABLE effects (number text)"))
}

func (h harness) effect(ctx context.Context, number string) error {
	return h.exec(ctx, "INSERT INTO effects (number) VALUES ($1)", number)
}

func (h harness) effects(t testing.TB, number string) int {
	t.Helper()
	return h.count(t, "SELECT count(*) FROM effects WHERE number = $1", number)
}

// What a handler writes is there if and only if its job is done.
func TestEffectAndCompletionCommitTogether(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		fail func(ctx context.Context, h harness) error // of the first attempt, after the effect
	}{
		{"error", func(context.Context, harness) error { return errOnPurpose }},
		{"panic", func(context.Context, harness) error { panic("on purpose") }},
		{"timeout", func(ctx context.Context, _ harness) error {
			<-ctx.Done()
			return nil // and the commit fails
		}},
		{"statement", func(ctx context.Context, h harness) error {
			_ = h.exec(ctx, "INSERT INTO no_such_table VALUES (1)")
			return errOnPurpose
		}},
		{"commit", func(ctx context.Context, h harness) error {
			if !h.postgres() {
				return errOnPurpose
			}
			return h.exec(ctx, "INSERT INTO children (parent) VALUES (1)")
		}},
		{"nested", func(ctx context.Context, h harness) error {
			return h.transact(ctx, func(ctx context.Context) error { return errors.Join(h.effect(ctx, "inner"), errOnPurpose) })
		}},
	}
	each(t, func(t *testing.T, h harness) {
		effects(t, h)
		if h.postgres() {
			require.NoError(t, h.exec(t.Context(), "CREATE TABLE parents (id int PRIMARY KEY)"))
			require.NoError(t, h.exec(t.Context(), "CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"))
		}
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		attempts := map[string]*atomic.Int64{}
		timeout := map[string]tidings.SubscribeOptions{"timeout": {tidings.Timeout(time.Second)}}
		for _, tt := range tests {
			n := &atomic.Int64{}
			attempts[tt.name] = n
			tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
				if !hasTx(ctx) {
					return errors.New("not in a transaction")
				}
				if err := h.effect(ctx, tt.name); err != nil {
					return err
				}
				if n.Add(1) == 1 {
					return tt.fail(ctx, h)
				}
				return nil
			}, tidings.Named("handler."+tt.name), atOnce(jobs, timeout[tt.name]...))
		}
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		start(t, jobs)
		awaitJobs(t, h, len(tests), "state = 'completed'")
		for _, tt := range tests {
			calls, made := int(attempts[tt.name].Load()), h.count(t, "SELECT attempt FROM river_job WHERE kind = $1", "handler."+tt.name)
			if tt.name == "timeout" { // which a busy machine may exceed, before the handler and after it
				require.GreaterOrEqual(t, calls, 2, tt.name)
				require.GreaterOrEqual(t, made, calls, tt.name)
			} else {
				require.Equal(t, []int{2, 2}, []int{calls, made}, tt.name)
			}
			require.Equal(t, 1, h.effects(t, tt.name), tt.name)
			require.Equal(t, 1, storedJobs(t, h, "kind = $1 AND finalized_at IS NOT NULL", "handler."+tt.name), tt.name)
		}
		require.Zero(t, h.effects(t, "inner"))
	})
}

// A handler's transactions are savepoints of its own one.
func TestHandlersNestTransactions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		effects(t, h)
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			nested := func(number string, err error) error {
				return h.transact(ctx, func(ctx context.Context) error { return errors.Join(h.effect(ctx, number), err) })
			}
			if err := nested("dropped", errOnPurpose); !errors.Is(err, errOnPurpose) {
				return errors.New("the savepoint has not failed")
			}
			return nested("kept", nil)
		}, tidings.Named("handler"), tidings.Via(jobs))
		start(t, jobs)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		awaitJobs(t, h, 1, "state = 'completed'")
		require.Equal(t, []int{0, 1}, []int{h.effects(t, "dropped"), h.effects(t, "kept")})
	})
}

// What a handler publishes belongs to its transaction.
func TestHandlersPublishInTheirTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		var attempts atomic.Int64
		after := make(chan Created, 10)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			if from, ok := tidings.EventFrom(ctx); !ok || from.EventID() != e.EventID() {
				return errors.New("EventFrom gives another event")
			}
			if err := tidings.Publish(ctx, bus, Created{Client: e.Number}); err != nil {
				return err
			}
			if len(after) > 0 {
				return errors.New("an AfterCommit handler ran in the transaction")
			}
			if attempts.Add(1) == 1 {
				return errOnPurpose
			}
			return nil
		}, tidings.Named("first"), atOnce(jobs))
		tidings.Subscribe(bus, func(ctx context.Context, e Created) error {
			if hasTx(ctx) {
				t.Error("an AfterCommit handler is in the transaction")
			}
			after <- e
			return nil
		}, tidings.AfterCommit)
		durables := make(chan Created, 10)
		tidings.Subscribe(bus, func(_ context.Context, e Created) error {
			durables <- e
			return nil
		}, tidings.Named("second"), atOnce(jobs))
		start(t, jobs)
		cause := tidings.Stamp(t.Context(), Accepted{Number: "7"})
		require.NoError(t, tidings.Publish(t.Context(), bus, cause))
		awaitJobs(t, h, 2, "state = 'completed'")
		require.Equal(t, 2, storedJobs(t, h, "true"), "nothing is left of the first attempt")
		// The job is done before its AfterCommit handlers are.
		here := <-after
		require.Empty(t, after)
		require.Equal(t, here, <-durables)
		require.Empty(t, durables)
		require.Equal(t, cause.EventID(), here.CausationID())
		require.Equal(t, cause.CorrelationID(), here.CorrelationID())
		require.EqualValues(t, 2, attempts.Load())
	})
}

// The inbox of the event log makes what is published twice one effect.
func TestInboxOfTheEventLog(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		effects(t, h)
		log, err := eventlog.Open(t.Context(), h.log, newRegistry())
		require.NoError(t, err)
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		var attempts atomic.Int64
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			if err := h.effect(ctx, e.Number); err != nil {
				return err
			}
			if attempts.Add(1) == 1 {
				return errOnPurpose
			}
			return nil
		}, tidings.Named("handler"), atOnce(jobs), log.Inbox())
		start(t, jobs)
		event := tidings.Stamp(t.Context(), Accepted{Number: "once"})
		require.NoError(t, tidings.Publish(t.Context(), bus, event))
		awaitJobs(t, h, 1, "state = 'completed'")
		require.Equal(t, 1, h.effects(t, "once"))
		require.NoError(t, tidings.Publish(t.Context(), bus, event))
		awaitJobs(t, h, 2, "state = 'completed'")
		require.Equal(t, 1, h.effects(t, "once"))
		require.EqualValues(t, 2, attempts.Load(), "the second job does not call the handler")
	})
}

// If a job is given away while its handler runs, one of the two has an effect,
// whichever comes first, and the other leaves no trace, nor does it disturb.
func TestTwoAttemptsAtOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		first int64 // the attempt that returns first
		fail  error // and with what the first attempt returns
	}{
		{"the later one is done first", 2, nil},
		{"the early one comes back too late", 1, nil},
		{"the early one fails too late", 1, errOnPurpose},
		{"the early one gives up too late", 1, tidings.Permanent(errOnPurpose)},
	}
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("on SQLite the first attempt holds the lock that the second one waits for")
		}
		effects(t, h)
		for _, tt := range tests {
			require.NoError(t, h.exec(t.Context(), "DELETE FROM river_job"))
			logs := &logBuffer{}
			jobs := h.jobs(t, river.Config{}, durable.WithLogger(logs.logger()))
			bus := tidingstest.NewBus(t)
			var attempts atomic.Int64
			entered := make(chan int64, 10)
			let := map[int64]chan struct{}{1: make(chan struct{}), 2: make(chan struct{})}
			tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
				n := attempts.Add(1)
				entered <- n
				if err := h.effect(ctx, tt.name); err != nil {
					return err
				}
				if let[n] != nil {
					<-let[n]
				}
				if n == 1 {
					return tt.fail
				}
				return nil
			}, tidings.Named("handler"), atOnce(jobs))
			start(t, jobs)
			require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
			<-entered
			require.NoError(t, h.exec(t.Context(), "UPDATE river_job SET state = 'available'"))
			<-entered
			close(let[tt.first])
			if tt.first == 2 {
				awaitJobs(t, h, 1, "state = 'completed'")
				close(let[1])
			} else {
				require.Eventually(t, func() bool { return logs.has("an attempt came too late") }, time.Minute, time.Millisecond, tt.name)
				require.Equal(t, 1, storedJobs(t, h, "state = 'running' AND attempt = 2 AND errors IS NULL"), tt.name)
				close(let[2])
				awaitJobs(t, h, 1, "state = 'completed'")
			}
			require.Eventually(t, func() bool { return logs.has("an attempt came too late") }, time.Minute, time.Millisecond, tt.name)
			stop(t, jobs)
			require.False(t, logs.has("a job is dead"), tt.name)
			require.EqualValues(t, 2, attempts.Load(), tt.name)
			require.Equal(t, 1, h.effects(t, tt.name), tt.name)
			require.Equal(t, 1, storedJobs(t, h, "state = 'completed' AND attempt = 2 AND errors IS NULL"), tt.name)
		}
	})
}

// A job that is deleted while its handler runs has no effect.
func TestJobDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		if !h.postgres() {
			t.Skip("on SQLite the handler holds the lock that deleting waits for")
		}
		effects(t, h)
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, func(ctx context.Context, e Accepted) error {
			return errors.Join(h.effect(ctx, "deleted"), h.exec(t.Context(), "DELETE FROM river_job"))
		}, tidings.Named("handler"), tidings.Via(jobs))
		start(t, jobs)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{}))
		awaitJobs(t, h, 0, "true")
		stop(t, jobs)
		require.Zero(t, h.effects(t, "deleted"))
	})
}

func TestOutside(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		effects(t, h)
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		outside := func(ctx context.Context, e Accepted) error {
			if hasTx(ctx) {
				return tidings.Permanent(errors.New("in a transaction"))
			}
			if err := tidings.Publish(ctx, bus, Created{Client: e.Number}); err != nil {
				return err
			}
			if err := h.effect(ctx, e.Number); err != nil {
				return err
			}
			if h.effects(t, e.Number) == 1 {
				return errOnPurpose
			}
			return nil
		}
		key := durable.InOrderBy(func(e Accepted) string { return e.Number[:1] })
		tidings.Subscribe(bus, outside, tidings.Named("outside"), atOnce(jobs, durable.Outside(), key))
		var sync atomic.Int64
		tidings.Subscribe(bus, func(context.Context, Created) error {
			sync.Add(1)
			return nil
		})
		tidings.Subscribe(bus, nothing[Created], tidings.Named("second"), atOnce(jobs, durable.Outside()))
		start(t, jobs)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "k1"}))
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "k2"}))
		awaitJobs(t, h, 6, "state = 'completed'")
		require.EqualValues(t, 4, sync.Load())
		require.Equal(t, []int{2, 2}, []int{h.effects(t, "k1"), h.effects(t, "k2")}, "an attempt that fails leaves its effects")
		require.Equal(t, 2, storedJobs(t, h, "kind = 'outside' AND attempt = 2"))
	})
}
