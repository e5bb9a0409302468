package tidings_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestDefault(t *testing.T) {
	was := tidings.Default()
	t.Cleanup(func() { tidings.SetDefault(was) })
	require.Same(t, was, tidings.Default())

	bus := tidings.New()
	tidings.SetDefault(bus)
	require.Same(t, bus, tidings.Default())
	require.PanicsWithValue(t, "tidings: SetDefault with a nil *EventBus", func() { tidings.SetDefault(nil) })
	require.Same(t, bus, tidings.Default())
}

func TestNewPanicsOnImpossibleOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		message string
		option  func() tidings.Option
	}{
		{"tidings: New with a nil Option", func() tidings.Option { return nil }},
		{"tidings: WithLogger with a nil *slog.Logger", func() tidings.Option { return tidings.WithLogger(nil) }},
		{"tidings: WithErrorHandler with a nil function", func() tidings.Option { return tidings.WithErrorHandler(nil) }},
		{"tidings: WithMiddleware with a nil Middleware", func() tidings.Option { return tidings.WithMiddleware(nil) }},
		{"tidings: WithWorkers(0): must be at least 1", func() tidings.Option { return tidings.WithWorkers(0) }},
		{"tidings: WithQueueLimit(-1): must be at least 1", func() tidings.Option { return tidings.WithQueueLimit(-1) }},
		{"tidings: WithMaxDepth(0): must be at least 1", func() tidings.Option { return tidings.WithMaxDepth(0) }},
		{"tidings: WithClock with a nil function", func() tidings.Option { return tidings.WithClock(nil) }},
		{"tidings: WithTransport with a nil Transport", func() tidings.Option { return tidings.WithTransport(nil) }},
	} {
		require.PanicsWithValue(t, tt.message, func() { tidings.New(tt.option()) })
	}
}

// A bus that New has not made says so, and does nothing else.
func TestZeroBus(t *testing.T) {
	t.Parallel()
	var bus tidings.EventBus
	remedy := " on the zero EventBus: make the bus with tidings.New"
	event := tidings.Stamp(t.Context(), clientCreated{})
	require.EqualError(t, tidings.Publish(t.Context(), &bus, event), "tidings: Publish"+remedy)
	require.EqualError(t, tidings.Publish[tidings.Event](t.Context(), &bus, event), "tidings: Publish"+remedy)
	require.EqualError(t, bus.Deliver(t.Context(), "clients.onboard", event), "tidings: Deliver"+remedy)
	require.PanicsWithValue(t, "tidings: Subscribe"+remedy, func() {
		tidings.Subscribe(&bus, func(context.Context, clientCreated) error { return nil })
	})
	require.PanicsWithValue(t, "tidings: SetDefault"+remedy, func() { tidings.SetDefault(&bus) })
	require.Empty(t, bus.Subscriptions())
	require.NoError(t, bus.Close(t.Context()))
}

func TestCloseRefusesNewEvents(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	calls := 0
	tidings.Subscribe(bus, countCalls(&calls))
	require.NoError(t, bus.Close(t.Context()))
	for _, publish := range []func(context.Context, *tidings.EventBus) error{asItself, asEvent, asAudited} {
		require.Equal(t, tidings.ErrClosed, publish(t.Context(), bus))
	}
	require.Equal(t, tidings.ErrClosed, tidings.Publish(t.Context(), bus, proposalAccepted{}), "nobody subscribes to it")
	require.Zero(t, calls)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, bus.Close(cancelled), "nothing to wait for")
}

// inBackground runs fn and returns where its result will be.
func inBackground(fn func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- fn() }()
	return result
}

// requireWaiting checks, inside a synctest bubble, that fn has not returned.
func requireWaiting(t *testing.T, result <-chan error, what string) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		require.Failf(t, "returned", "%s: %v", what, err)
	default:
	}
}

func TestCloseWaitsForRunningHandlers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts []tidings.SubscribeOption
	}{{"in the publisher", nil}, {"asynchronous", []tidings.SubscribeOption{tidings.Async()}}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus, b := tidings.New(), newBlocked()
				defer b.release()
				tidings.Subscribe(bus, b.handle, tt.opts...)
				published := inBackground(func() error { return tidings.Publish(context.Background(), bus, proposalAccepted{}) })
				<-b.entered
				first := inBackground(func() error { return bus.Close(context.Background()) })
				requireWaiting(t, first, "Close")
				require.Equal(t, tidings.ErrClosed, tidings.Publish(t.Context(), bus, proposalAccepted{}), "while Close waits")
				second := inBackground(func() error { return bus.Close(context.Background()) })
				requireWaiting(t, second, "the second Close")
				b.release()
				require.NoError(t, <-published)
				require.NoError(t, <-first)
				require.NoError(t, <-second)
				require.NoError(t, bus.Close(t.Context()), "and again")
			})
		})
	}
}

func TestCloseReturnsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus, b := tidings.New(), newBlocked()
		defer b.release()
		tidings.Subscribe(bus, b.handle)
		published := inBackground(func() error { return tidings.Publish(context.Background(), bus, proposalAccepted{}) })
		<-b.entered

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		require.Equal(t, context.DeadlineExceeded, bus.Close(ctx))
		require.Equal(t, time.Minute, time.Since(started))
		require.Equal(t, context.DeadlineExceeded, bus.Close(ctx), "and does not forget what still runs")
		require.Equal(t, tidings.ErrClosed, tidings.Publish(t.Context(), bus, proposalAccepted{}))

		again := inBackground(func() error { return bus.Close(context.Background()) })
		requireWaiting(t, again, "Close")
		b.release()
		require.NoError(t, <-published)
		require.NoError(t, <-again)
	})
}

func TestHandlersStillRunningMayPublish(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts []tidings.SubscribeOption
	}{{"in the publisher", nil}, {"asynchronous", []tidings.SubscribeOption{tidings.Async()}}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus, d := tidings.New(tidings.WithWorkers(1)), &diary{}
				entered, release := make(chan struct{}), make(chan struct{})
				tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
					close(entered)
					<-release
					if err := tidings.Publish(ctx, bus, clientCreated{}); err != nil {
						return err
					}
					return tidings.Publish[tidings.Event](ctx, bus, changed[int]{})
				}, tt.opts...)
				tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
					d.add("client")
					return tidings.Publish(ctx, bus, projectCreated{})
				})
				tidings.Subscribe(bus, func(ctx context.Context, _ projectCreated) error {
					d.add("project")
					return nil
				}, tidings.Async())
				tidings.Subscribe(bus, writes[changed[int]](d, "changed"))

				published := inBackground(func() error { return tidings.Publish(context.Background(), bus, proposalAccepted{}) })
				<-entered
				closed := inBackground(func() error { return bus.Close(context.Background()) })
				requireWaiting(t, closed, "Close")
				close(release)
				require.NoError(t, <-published)
				require.NoError(t, <-closed)
				require.ElementsMatch(t, []string{"client", "changed", "project"}, d.read(), "all of it is drained")
			})
		})
	}
}

// A context that a handler kept is no licence to publish when nobody waits for
// it any more.
func TestAContextThatOutlivedItsHandlerMayNotPublish(t *testing.T) {
	t.Parallel()
	t.Run("after Close", func(t *testing.T) {
		bus := tidings.New()
		var kept []context.Context
		tidings.Subscribe(bus, func(ctx context.Context, _ tidings.Event) error {
			kept = append(kept, ctx, tidings.WithCorrelationID(ctx, tidings.Stamp(ctx, clientCreated{}).EventID()), context.WithoutCancel(ctx))
			return nil
		})
		require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
		require.NoError(t, tidings.Publish(t.Context(), bus, placed(nil)))
		require.NoError(t, bus.Close(t.Context()))
		require.Len(t, kept, 6)
		for _, ctx := range kept {
			require.Equal(t, tidings.ErrClosed, tidings.Publish(ctx, bus, proposalAccepted{}))
			require.Equal(t, tidings.ErrClosed, tidings.Publish(ctx, bus, placed(nil)))
			require.Equal(t, tidings.ErrClosed, tidings.Publish(ctx, bus, changed[int]{}))
		}
		require.Len(t, kept, 6)
	})
	t.Run("after Close, while others are refused", func(t *testing.T) {
		txtest.TimeLimit(t)
		bus := tidings.New()
		var kept atomic.Pointer[context.Context]
		var calls atomic.Int32
		tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
			calls.Add(1)
			kept.Store(&ctx)
			return nil
		})
		require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
		require.NoError(t, bus.Close(t.Context()))
		ctx := *kept.Load()
		var wg sync.WaitGroup
		for _, ctx := range []context.Context{ctx, ctx, context.Background(), context.Background()} {
			wg.Go(func() {
				for range 20_000 {
					if tidings.Publish(ctx, bus, proposalAccepted{}) == nil {
						t.Error("published")
						return
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, int32(1), calls.Load())
	})
	t.Run("but while Close waits it is part of what Close waits for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			bus, b := tidings.New(), newBlocked()
			defer b.release()
			running := tidings.Subscribe(bus, b.handle)
			late := newBlocked()
			defer late.release()
			var kept context.Context
			tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
				kept = ctx
				return nil
			})
			require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
			first := inBackground(func() error { return tidings.Publish(context.Background(), bus, proposalAccepted{}) })
			<-b.entered
			closed := inBackground(func() error { return bus.Close(context.Background()) })
			requireWaiting(t, closed, "Close")
			running.Unsubscribe()
			tidings.Subscribe(bus, late.handle)
			second := inBackground(func() error { return tidings.Publish(kept, bus, proposalAccepted{}) })
			<-late.entered
			b.release()
			require.NoError(t, <-first)
			requireWaiting(t, closed, "Close")
			late.release()
			require.NoError(t, <-second)
			require.NoError(t, <-closed)
			require.Equal(t, tidings.ErrClosed, tidings.Publish(kept, bus, proposalAccepted{}))
		})
	})
}

func TestCloseInsideAHandler(t *testing.T) {
	t.Parallel()
	const message = "tidings: Close inside a handler of the same bus would wait for itself: call it with a context from outside (new events are refused from now on)"
	for _, tt := range []struct {
		name string
		opts []tidings.SubscribeOption
	}{{"in the publisher", nil}, {"asynchronous", []tidings.SubscribeOption{tidings.Async()}}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus, d := tidings.New(), &diary{}
				tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
					require.EqualError(t, bus.Close(ctx), message)
					require.EqualError(t, bus.Close(context.WithoutCancel(ctx)), message)
					require.Equal(t, tidings.ErrClosed, tidings.Publish(t.Context(), bus, clientCreated{}), "from outside")
					return tidings.Publish(ctx, bus, clientCreated{})
				}, tt.opts...)
				tidings.Subscribe(bus, writes[clientCreated](d, "client"))
				require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
				require.NoError(t, bus.Close(t.Context()))
				require.Equal(t, []string{"client"}, d.read())
			})
		})
	}
	t.Run("of another bus", func(t *testing.T) {
		txtest.TimeLimit(t)
		bus, other := tidings.New(), tidings.New()
		tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
			return other.Close(ctx)
		})
		require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
		require.Equal(t, tidings.ErrClosed, tidings.Publish(t.Context(), other, proposalAccepted{}))
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	})
	t.Run("of another bus, inside one of this", func(t *testing.T) {
		txtest.TimeLimit(t)
		bus, other := tidings.New(), tidings.New()
		tidings.Subscribe(bus, func(ctx context.Context, _ proposalAccepted) error {
			return tidings.Publish(ctx, other, proposalAccepted{})
		})
		tidings.Subscribe(other, func(ctx context.Context, _ proposalAccepted) error {
			require.EqualError(t, bus.Close(ctx), message)
			return nil
		})
		require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	})
}

// Publishers race with Close: each event is either handled before Close
// returns, or refused.
func TestCloseWhileEventsFly(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	for range 100 {
		bus := tidings.New()
		var handled, accepted, closed atomic.Int32
		for _, opts := range [][]tidings.SubscribeOption{nil, {tidings.Async()}} {
			tidings.Subscribe(bus, func(context.Context, clientCreated) error {
				if closed.Load() != 0 {
					t.Error("a handler runs after Close has returned")
				}
				handled.Add(1)
				return nil
			}, opts...)
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					switch err := tidings.Publish(context.Background(), bus, clientCreated{}); err {
					case nil:
						accepted.Add(1)
					case tidings.ErrClosed:
						return
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		require.NoError(t, bus.Close(t.Context()))
		closed.Store(1)
		wg.Wait()
		require.Equal(t, 2*accepted.Load(), handled.Load())
	}
}

// A transaction that was open when the bus closed commits: its events can
// only be queued for workers that are gone, so they are refused, and named.
func TestAsyncAfterClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus := tidings.New()
		for _, opts := range [][]tidings.SubscribeOption{{tidings.Async()}, {tidings.Async(), tidings.Named("clients.onboard")}} {
			tidings.Subscribe(bus, onAny[clientCreated], opts...)
		}
		ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
		require.NoError(t, tidings.Publish(ctx, bus, clientCreated{}))
		require.NoError(t, hook.Prepare(ctx))
		require.NoError(t, bus.Close(t.Context()))
		err := hook.Commit(ctx)
		require.ErrorIs(t, err, tidings.ErrClosed)
		errs := handlerErrors(t, err)
		require.Len(t, errs, 2)
		require.EqualError(t, errs[0], "tidings: tidings_test.onAny[...] handling tidings_test.clientCreated: bus closed")
		require.EqualError(t, errs[1], "tidings: clients.onboard handling tidings_test.clientCreated: bus closed")
	})
}

// What goes on for ever ends with a Close that has given up.
func TestAsyncChainDoesNotOutliveClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, calls := &failures{}, 0
		bus := tidings.New(tidings.WithMaxDepth(1_000_000), tidings.WithErrorHandler(f.handle))
		tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
			calls++
			time.Sleep(time.Second)
			return tidings.Publish(ctx, bus, clientCreated{})
		}, tidings.Async())
		publish(t, bus, clientCreated{})
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, bus.Close(ctx), context.DeadlineExceeded)
		require.NoError(t, bus.Close(t.Context()), "a second call waits for what still runs")
		require.Equal(t, 4, calls)
		require.ErrorIs(t, errors.Join(f.errs...), tidings.ErrClosed)
	})
}

// A clock is code of the user: what panics there is not counted as a publisher.
func TestCloseAfterAClockThatPanicked(t *testing.T) {
	t.Parallel()
	bus := tidings.New(tidings.WithClock(func() time.Time { panic("no time") }))
	onAccepted := func(context.Context, proposalAccepted) error { return nil }
	tidings.Subscribe(bus, onAccepted)
	for range 2 {
		require.PanicsWithValue(t, "no time", func() { _ = tidings.Publish(t.Context(), bus, proposalAccepted{}) })
		require.PanicsWithValue(t, "no time", func() { _ = tidings.Publish[tidings.Event](t.Context(), bus, proposalAccepted{}) })
		tidings.Subscribe(bus, onAccepted, tidings.BeforeCommit) // the second time as a transaction
	}
	require.NoError(t, bus.Close(t.Context()))
}
