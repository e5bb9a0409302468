package tidings_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

func TestOnce(t *testing.T) {
	t.Parallel()
	bus, d := tidings.New(), &diary{}
	middleware := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			d.add("wrapped")
			return next(ctx, e)
		}
	})
	tidings.Subscribe(bus, writes[clientCreated](d, "typed"), tidings.Once(), middleware)
	tidings.Subscribe(bus, writes[tidings.Event](d, "all"), tidings.Once())
	tidings.Subscribe(bus, writes[audited](d, "always"))
	require.Len(t, bus.Subscriptions(), 3)
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.Equal(t, []string{"all"}, d.read(), "the first event that reaches it, whatever its type")
	for range 2 {
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	}
	require.Equal(t, []string{"all", "wrapped", "typed", "always", "always"}, d.read())
	require.Len(t, bus.Subscriptions(), 1)
}

func TestOnceEndsWithAFailureToo(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"an error": func() error { return errors.New("card declined") },
		"a panic":  func() error { panic("card declined") },
	} {
		t.Run(name, func(t *testing.T) {
			bus := tidings.New()
			tidings.Subscribe(bus, func(context.Context, clientCreated) error { return fail() }, tidings.Once())
			require.ErrorContains(t, tidings.Publish(t.Context(), bus, clientCreated{}), "card declined")
			require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
		})
	}
}

// An event that a middleware keeps from the handler does not use it up, and a
// second attempt belongs to the call that did.
func TestOnceCountsCallsOfTheHandler(t *testing.T) {
	t.Parallel()
	even := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error {
			if d.Event().(clientCreated).ClientID%2 != 0 {
				return nil
			}
			return next(ctx, d)
		}
	})
	twice := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error { return errors.Join(next(ctx, d), next(ctx, d)) }
	})
	for _, tt := range []struct {
		reason    string
		subscribe func(*tidings.EventBus, func(int64))
	}{
		{"a struct", func(bus *tidings.EventBus, got func(int64)) {
			tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error { got(e.ClientID); return nil }, tidings.Once(), even, twice)
		}},
		{"an interface", func(bus *tidings.EventBus, got func(int64)) {
			tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error { got(e.(clientCreated).ClientID); return nil }, even, twice, tidings.Once())
		}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			bus := tidings.New()
			var got []int64
			tt.subscribe(bus, func(id int64) { got = append(got, id) })
			for id := range int64(5) {
				require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: id + 1}))
			}
			require.Equal(t, []int64{2, 2}, got)
			require.Empty(t, bus.Subscriptions())
		})
	}
}

func TestOnceIsNotReentered(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	bus, calls := tidings.New(), 0
	tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
		calls++
		return tidings.Publish(ctx, bus, clientCreated{})
	}, tidings.Once())
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, 1, calls)
}

// The outer event keeps to the handlers that it began with, Once among them.
func TestOnceIsNotCalledAgainByAnEventUnderWay(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		if e.ClientID == 1 {
			return tidings.Publish(ctx, bus, clientCreated{ClientID: 2})
		}
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		d.add("once %d", e.ClientID)
		return nil
	}, tidings.Once())
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 1}))
	require.Equal(t, []string{"once 2"}, d.read())
}

func TestOnceUnderConcurrency(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	for range 1000 {
		bus := tidings.New()
		var calls, steady, ready atomic.Int32
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			ready.Add(1)
			for ready.Load() < 2 { // so that both reach the next one at the same moment
				runtime.Gosched()
			}
			return nil
		})
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			calls.Add(1)
			return nil
		}, tidings.Once())
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			steady.Add(1)
			return nil
		})
		var done sync.WaitGroup
		for range 2 {
			done.Go(func() {
				if err := tidings.Publish(context.Background(), bus, clientCreated{}); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		require.Equal(t, int32(1), calls.Load())
		require.Equal(t, int32(2), steady.Load())
		require.Len(t, bus.Subscriptions(), 2)
	}
}

func TestOnceThatWasUnsubscribedIsNeverCalled(t *testing.T) {
	t.Parallel()
	bus, calls := tidings.New(), 0
	tidings.Subscribe(bus, countCalls(&calls), tidings.Once()).Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Zero(t, calls)
}
