package tidings_test

import (
	"context"
	"errors"
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

func TestOnceUnderConcurrency(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	for range 200 {
		bus := tidings.New()
		var calls, steady atomic.Int32
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			calls.Add(1)
			return nil
		}, tidings.Once())
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			steady.Add(1)
			return nil
		})
		var start, done sync.WaitGroup
		start.Add(1)
		for range 4 {
			done.Go(func() {
				start.Wait()
				if err := tidings.Publish(context.Background(), bus, clientCreated{}); err != nil {
					t.Error(err)
				}
			})
		}
		start.Done()
		done.Wait()
		require.Equal(t, int32(1), calls.Load())
		require.Equal(t, int32(4), steady.Load())
		require.Len(t, bus.Subscriptions(), 1)
	}
}

func TestOnceThatWasUnsubscribedIsNeverCalled(t *testing.T) {
	t.Parallel()
	bus, calls := tidings.New(), 0
	tidings.Subscribe(bus, countCalls(&calls), tidings.Once()).Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Zero(t, calls)
}
