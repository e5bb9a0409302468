package durable_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/tidingstest"
)

var errOnPurpose = errors.New("failing on purpose")

func nothing[E tidings.Event](context.Context, E) error { return nil }

// storedJobs counts the jobs for which the condition holds.
func storedJobs(t testing.TB, h harness, condition string, args ...any) int {
	t.Helper()
	return h.count(t, "SELECT count(*) FROM river_job WHERE "+condition, args...)
}

// awaitJobs waits until that many jobs meet the condition.
func awaitJobs(t testing.TB, h harness, n int, condition string, args ...any) {
	t.Helper()
	require.Eventually(t, func() bool { return storedJobs(t, h, condition, args...) == n }, time.Minute, 20*time.Millisecond,
		"%d jobs, not %d, where %s", storedJobs(t, h, condition, args...), n, condition)
}

// atOnce is jobs whose handlers try again at once.
func atOnce(jobs *durable.Jobs, opts ...tidings.SubscribeOption) tidings.SubscribeOptions {
	return append(tidings.SubscribeOptions{tidings.Via(jobs), tidings.Backoff(func(int) time.Duration { return time.Millisecond })}, opts...)
}

func TestSendStoresOneJobForEachHandler(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{MaxAttempts: river.MaxAttemptsDefault})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("plain.one"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("plain.two"), tidings.Via(jobs))
		mail := tidings.SubscribeOptions{tidings.Via(jobs), tidings.Attempts(3), durable.Queue("mail"), durable.Priority(2)}
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail.one"), mail)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail.two"), mail)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("slow"), tidings.Via(jobs), tidings.Attempts(40), durable.Priority(4))
		tidings.Subscribe(bus, nothing[Created], tidings.Named("other"), tidings.Via(jobs))

		publish := func(ctx context.Context) error {
			return errors.Join(tidings.Publish(ctx, bus, Accepted{Number: "1"}), tidings.Publish(ctx, bus, Accepted{Number: "2"}))
		}
		require.NoError(t, h.transact(t.Context(), publish))
		require.NoError(t, publish(t.Context()))
		require.Equal(t, 20, storedJobs(t, h, "state = 'available'"))
		for _, name := range []string{"plain.one", "plain.two"} {
			require.Equal(t, 4, storedJobs(t, h, "kind = $1 AND queue = 'default' AND priority = 1 AND max_attempts = 25", name), name)
		}
		for _, name := range []string{"mail.one", "mail.two"} {
			require.Equal(t, 4, storedJobs(t, h, "kind = $1 AND queue = 'mail' AND priority = 2 AND max_attempts = 3", name), name)
		}
		require.Equal(t, 4, storedJobs(t, h, "kind = 'slow' AND queue = 'default' AND priority = 4 AND max_attempts = 40"))
		require.Equal(t, 10, storedJobs(t, h, "args ->> 'type' = 'crm.accepted' AND args -> 'data' ->> 'number' = '1'"))
		require.Equal(t, 20, storedJobs(t, h, "metadata ->> 'tidings_order' IS NULL AND metadata ->> 'tidings_trace' IS NULL"))
	})
}

func TestSendJoinsTheTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(jobs))
		publish := func(ctx context.Context, number string) error {
			return tidings.Publish(ctx, bus, Accepted{Number: number})
		}
		is := func(number string) int {
			return storedJobs(t, h, "args -> 'data' ->> 'number' = $1", number)
		}

		require.NoError(t, publish(t.Context(), "outside"))
		require.Equal(t, 1, is("outside"))

		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
			require.NoError(t, publish(ctx, "kept"))
			require.ErrorIs(t, h.transact(ctx, func(ctx context.Context) error {
				return errors.Join(publish(ctx, "savepoint"), errOnPurpose)
			}), errOnPurpose)
			require.NoError(t, h.transact(ctx, func(ctx context.Context) error { return publish(ctx, "released") }))
			if h.name != "sqlite" {
				require.Zero(t, is("kept"), "seen before the commit")
			}
			return nil
		}))
		require.Equal(t, []int{1, 0, 1}, []int{is("kept"), is("savepoint"), is("released")})

		require.ErrorIs(t, h.transact(t.Context(), func(ctx context.Context) error {
			return errors.Join(publish(ctx, "rolled back"), errOnPurpose)
		}), errOnPurpose)
		require.Zero(t, is("rolled back"))

		// The jobs are stored, and after that the transaction fails.
		fail := tidings.Subscribe(bus, func(context.Context, Accepted) error { return errOnPurpose }, tidings.BeforeCommit)
		require.ErrorIs(t, h.transact(t.Context(), func(ctx context.Context) error { return publish(ctx, "refused") }), errOnPurpose)
		fail.Unsubscribe()
		require.Zero(t, is("refused"))
	})
}

func TestSendManyEventsInATransaction(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		events int
		size   int
		reason string
	}{
		{"many", 5_050, 1, "more than one statement inserts, and than a statement has parameters"},
		{"large", 45, 100_000, "more bytes than one statement inserts"},
		{"one too large", 2, 5 << 20, "each is more than that by itself"},
	}
	each(t, func(t *testing.T, h harness) {
		for _, tt := range tests {
			if !h.postgres() { // slow, if translated from C and looking for races
				tt.events = min(tt.events, 200)
			}
			jobs := h.jobs(t, river.Config{})
			bus := tidingstest.NewBus(t)
			tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(jobs))
			filler := strings.Repeat("x", tt.size)
			require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
				for i := range tt.events {
					if err := tidings.Publish(ctx, bus, Accepted{Number: filler, Total: int64(i)}); err != nil {
						return err
					}
				}
				return nil
			}))
			require.Equal(t, tt.events, storedJobs(t, h, "state = 'available'"), tt.reason)
			require.Equal(t, tt.events, h.count(t, "SELECT count(DISTINCT args -> 'data' ->> 'total') FROM river_job"), tt.reason)
			require.Equal(t, tt.events, h.count(t, "SELECT max(id) - min(id) + 1 FROM river_job"), tt.reason)
			require.NoError(t, h.exec(t.Context(), "DELETE FROM river_job"))
		}
	})
}

// A process that only publishes, and another one that works later.
func TestSendWithoutWorkers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		publisher := jobsWith(t, h, &river.Config{}, newRegistry())
		bus := tidingstest.NewBus(t)
		never := func(context.Context, Accepted) error {
			t.Error("called in the process that works no jobs")
			return nil
		}
		tidings.Subscribe(bus, never, tidings.Named("handler"), tidings.Via(publisher))
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
			return errors.Join(tidings.Publish(ctx, bus, Accepted{Number: "2"}), tidings.Publish(ctx, bus, Accepted{Number: "3"}))
		}))
		require.Equal(t, 3, storedJobs(t, h, "state = 'available'"))

		worker := h.jobs(t, river.Config{})
		other := tidingstest.NewBus(t)
		var got sync.Map
		tidings.Subscribe(other, func(_ context.Context, e Accepted) error {
			got.Store(e.Number, true)
			return nil
		}, tidings.Named("handler"), tidings.Via(worker))
		start(t, worker)
		awaitJobs(t, h, 3, "state = 'completed'")
		for _, number := range []string{"1", "2", "3"} {
			_, ok := got.Load(number)
			require.True(t, ok, number)
		}
	})
}

func TestSendRefusesTransactionsItCannotWriteIn(t *testing.T) {
	t.Parallel()
	type other struct{ _ int }
	each(t, func(t *testing.T, h harness) {
		db := &other{}
		bare := func(ctx context.Context, body func(context.Context) error) error { return body(ctx) }
		foreign := func(ctx context.Context, body func(context.Context) error) error {
			return body(tidings.WithTx(ctx, h.transactor.DB, &other{}))
		}
		tests := []struct {
			name   string
			run    tidings.Transactor
			want   string
			remedy string
			reason string
		}{
			{"foreign", tidings.Transactor{DB: h.transactor.DB, Run: foreign}, "durable: the transaction in ctx has no ", "tidings.WithTx", "it is of another kind"},
			{"bare", tidings.Transactor{DB: h.transactor.DB, Run: bare}, "durable: the transaction in ctx has no ", "tidings.WithTx", "the TxFunc did not add it"},
			{"another", tidings.Transactor{DB: db, Run: bare}, "durable: ctx is in a transaction of another database than the jobs': of a *durable_test.other", "a ctx from outside", "it is of another database"},
		}
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(jobs))
		for _, tt := range tests {
			err := tidings.Transact(t.Context(), tt.run, func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Accepted{})
			})
			require.ErrorContains(t, err, tt.want, tt.reason)
			require.ErrorContains(t, err, tt.remedy)
			require.Zero(t, storedJobs(t, h, "true"), tt.reason)
		}
		// Where the TxFunc adds River's own as well, there is no such error.
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(tidings.WithTx(ctx, h.transactor.DB, &other{}), bus, Accepted{})
		}))
		require.Equal(t, 1, storedJobs(t, h, "true"))
	})
}

// A transaction that nobody told tidings the end of is joined nonetheless.
func TestSendInATransactionWithoutScope(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(jobs))
		var rollback func()
		ctx := t.Context()
		if h.name == "pgx" {
			tx, err := h.pool.Begin(ctx)
			require.NoError(t, err)
			ctx, rollback = tidings.WithTx(ctx, h.transactor.DB, tx), func() { require.NoError(t, tx.Rollback(t.Context())) }
		} else {
			tx, err := h.sql.BeginTx(ctx, nil)
			require.NoError(t, err)
			ctx, rollback = tidings.WithTx(ctx, h.transactor.DB, tx), func() { require.NoError(t, tx.Rollback()) }
		}
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{}))
		rollback()
		require.Zero(t, storedJobs(t, h, "true"))
	})
}

func TestSendAsTheTransportOfABus(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t, tidings.WithTransport(jobs))
		publish := func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{}) }
		require.NoError(t, publish(t.Context()))
		require.NoError(t, h.transact(t.Context(), publish))
		require.Zero(t, storedJobs(t, h, "true"), "nobody subscribes")
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("handler"), tidings.Via(jobs))
		tidings.Subscribe(bus, nothing[Accepted], tidings.Named("mail"), tidings.Via(jobs), durable.Queue("mail"))
		require.NoError(t, publish(t.Context()))
		require.NoError(t, h.transact(t.Context(), publish))
		require.Equal(t, 2, storedJobs(t, h, "kind = 'handler' AND queue = 'default'"))
		require.Equal(t, 2, storedJobs(t, h, "kind = 'mail' AND queue = 'mail'"))
	})
}

func TestSendFailsThePublishOfWhatCannotBeStored(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		bus := tidingstest.NewBus(t)
		tidings.Subscribe(bus, nothing[Unknown], tidings.Named("handler"), tidings.Via(jobs))
		called := false
		tidings.Subscribe(bus, func(context.Context, Unknown) error {
			called = true
			return nil
		})
		require.ErrorIs(t, tidings.Publish(t.Context(), bus, Unknown{}), tidings.ErrUnregistered)
		var published error
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
			published = tidings.Publish(ctx, bus, Unknown{})
			return nil
		}))
		require.ErrorIs(t, published, tidings.ErrUnregistered)
		require.False(t, called, "no handler runs for an event that is not published")
		require.Zero(t, storedJobs(t, h, "true"))
	})
}

// Settings with an order do not break a bus that sends what is no event of it.
func TestSendRefusesWhatItHasNotEncoded(t *testing.T) {
	t.Parallel()
	h := openSQLite(t)
	jobs := h.jobs(t, river.Config{})
	err := jobs.Send(t.Context(), []tidings.Outgoing{{Event: Accepted{}, Handlers: []string{"handler"}, Encoded: "text"}})
	require.ErrorContains(t, err, "durable: Send got a string")
	require.NoError(t, jobs.Send(t.Context(), nil))
}
