package tidings_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// traces returns a middleware that writes when it is entered and left.
func traces(d *diary, name string) tidings.Middleware {
	return func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			d.add("> %s", name)
			defer d.add("< %s", name)
			return next(ctx, e)
		}
	}
}

func TestMiddlewareOrder(t *testing.T) {
	t.Parallel()
	d := &diary{}
	bus := tidings.New(
		tidings.WithMiddleware(traces(d, "bus 1"), traces(d, "bus 2")),
		tidings.WithMiddleware(traces(d, "bus 3")),
	)
	tidings.Subscribe(bus, writes[clientCreated](d, "typed"), traces(d, "own 1"), traces(d, "own 2"))
	tidings.Subscribe(bus, writes[audited](d, "audited"))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{
		"> bus 1", "> bus 2", "> bus 3", "> own 1", "> own 2", "typed", "< own 2", "< own 1", "< bus 3", "< bus 2", "< bus 1",
		"> bus 1", "> bus 2", "> bus 3", "audited", "< bus 3", "< bus 2", "< bus 1",
	}, d.read())
}

func TestMiddlewareIsComposedOncePerSubscription(t *testing.T) {
	t.Parallel()
	var composed atomic.Int32
	bus := tidings.New(tidings.WithMiddleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		composed.Add(1)
		return next
	}))
	require.Zero(t, composed.Load())
	tidings.Subscribe(bus, onAny[clientCreated])
	tidings.Subscribe(bus, onAny[tidings.Event])
	for range 3 {
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	}
	require.Equal(t, int32(2), composed.Load())
}

func TestMiddlewareSeesTheDelivery(t *testing.T) {
	t.Parallel()
	d := &diary{}
	bus := tidings.New(tidings.WithMiddleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			from, ok := tidings.EventFrom(ctx)
			require.True(t, ok)
			require.Equal(t, from, e.Event())
			require.NotEqual(t, uuid.Nil, e.Event().EventID())
			d.add("%s %v %d", e.Handler(), e.Phase(), e.Event().(clientCreated).ClientID)
			return next(ctx, e)
		}
	}))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("clients.onboard"))
	tidings.Subscribe(bus, onAny[audited], tidings.InTransaction)
	tidings.Subscribe(bus, onAny[clientCreated], tidings.BeforeCommit, tidings.Named("clients.check"))
	tidings.Subscribe(bus, onAny[tidings.Event], tidings.Async(), tidings.Named("clients.later"))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 3}))
	require.NoError(t, bus.Close(t.Context()))
	require.ElementsMatch(t, []string{
		"tidings_test.onAny[...] InTransaction 3", "clients.check BeforeCommit 3", "clients.onboard AfterCommit 3", "clients.later AfterCommit 3",
	}, d.read())
}

func TestMiddlewareGetsACopyOfTheEvent(t *testing.T) {
	t.Parallel()
	bus := tidings.New(tidings.WithMiddleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			e.Event().(orderPlaced).Stock["apples"] = 99
			return next(ctx, e)
		}
	}))
	var seen []int
	tidings.Subscribe(bus, func(_ context.Context, e orderPlaced) error {
		seen = append(seen, e.Stock["apples"])
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error {
		seen = append(seen, e.(orderPlaced).Stock["apples"])
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, placed(nil)))
	require.Equal(t, []int{1, 1}, seen)
}

func TestMiddlewareSeesPanicsAsErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		subscribe func(*tidings.EventBus, tidings.Middleware)
	}{
		{"typed", func(bus *tidings.EventBus, m tidings.Middleware) {
			tidings.Subscribe(bus, func(context.Context, clientCreated) error { panic(errDeclined) }, m)
		}},
		{"interface", func(bus *tidings.EventBus, m tidings.Middleware) {
			tidings.Subscribe(bus, func(context.Context, tidings.Event) error { panic(errDeclined) }, m)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := tidings.New()
			var seen error
			tt.subscribe(bus, func(next tidings.HandlerFunc) tidings.HandlerFunc {
				return func(ctx context.Context, e tidings.Delivery) error {
					seen = next(ctx, e)
					return seen
				}
			})
			err := tidings.Publish(t.Context(), bus, clientCreated{})
			var pe *tidings.PanicError
			require.ErrorAs(t, seen, &pe)
			require.Equal(t, errDeclined, pe.Value)
			require.Contains(t, string(pe.Stack), "TestMiddlewareSeesPanicsAsErrors")
			require.Same(t, seen, handlerErrors(t, err)[0].Err, "and is not wrapped again")
		})
	}
}

func TestMiddlewareMayReplaceTheContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	bus := tidings.New(tidings.WithMiddleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, key{}, "span"))
			defer cancel()
			return next(ctx, e)
		}
	}))
	var cause, effect tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
		cause = e
		require.Equal(t, "span", ctx.Value(key{}))
		from, ok := tidings.EventFrom(ctx)
		require.True(t, ok)
		require.Equal(t, tidings.Event(e), from)
		return tidings.Publish(ctx, bus, clientCreated{})
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		effect = e
		return nil
	})
	ctx := t.Context()
	require.NoError(t, tidings.Publish(ctx, bus, proposalAccepted{}))
	require.Equal(t, cause.EventID(), effect.CausationID())
	require.Nil(t, ctx.Value(key{}))
}

func TestMiddlewareMayShortCircuitAndRetry(t *testing.T) {
	t.Parallel()
	bus, calls := tidings.New(), 0
	skips := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(context.Context, tidings.Delivery) error { return nil }
	})
	refuses := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(context.Context, tidings.Delivery) error { return errors.New("not now") }
	})
	retries := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			err := next(ctx, e)
			for range 2 {
				if err != nil {
					err = next(ctx, e)
				}
			}
			return err
		}
	})
	swallows := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			_ = next(ctx, e)
			return nil
		}
	})
	never := func(context.Context, clientCreated) error {
		t.Error("a handler was called")
		return nil
	}
	tidings.Subscribe(bus, never, skips)
	tidings.Subscribe(bus, never, refuses, tidings.Named("refused"))
	tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		if calls++; calls < 3 {
			panic("not yet")
		}
		return nil
	}, retries)
	tidings.Subscribe(bus, func(context.Context, clientCreated) error { return errDeclined }, swallows)
	err := tidings.Publish(t.Context(), bus, clientCreated{})
	require.EqualError(t, err, "tidings: refused handling tidings_test.clientCreated: not now")
	require.Equal(t, 3, calls)
}

// A panic of a middleware itself is one of the handler to everybody else.
func TestMiddlewareThatPanics(t *testing.T) {
	t.Parallel()
	d := &diary{}
	bus := tidings.New(tidings.WithMiddleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			if e.Handler() == "unlucky" {
				panic("no tracer")
			}
			return next(ctx, e)
		}
	}))
	tidings.Subscribe(bus, writes[clientCreated](d, "unlucky"), tidings.Named("unlucky"))
	tidings.Subscribe(bus, writes[clientCreated](d, "runs"))
	err := tidings.Publish(t.Context(), bus, clientCreated{})
	require.EqualError(t, err, "tidings: unlucky handling tidings_test.clientCreated: panic: no tracer")
	require.Equal(t, []string{"runs"}, d.read())
}
