package tidings_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestInterfaceSubscriptions(t *testing.T) {
	t.Parallel()
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error {
		d.add("all: %T", e)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e audited) error {
		d.add("audit: %s", e.AuditLine())
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 3}))
	require.NoError(t, tidings.Publish(t.Context(), bus, projectCreated{ProjectID: 4}))
	require.Equal(t, []string{
		"all: tidings_test.proposalAccepted",
		"all: tidings_test.clientCreated", "audit: client 3 created",
		"all: tidings_test.projectCreated", "audit: project 4 created",
	}, d.read())
}

func TestTypedAndInterfaceHandlersKeepTheOrderOfSubscription(t *testing.T) {
	t.Parallel()
	want := []string{"typed 1", "all 1", "audited", "typed 2", "all 2"}
	subscribe := func(bus *tidings.EventBus, d *diary) {
		tidings.Subscribe(bus, writes[clientCreated](d, "typed 1"))
		tidings.Subscribe(bus, writes[tidings.Event](d, "all 1"))
		tidings.Subscribe(bus, writes[audited](d, "audited"))
		tidings.Subscribe(bus, writes[clientCreated](d, "typed 2"))
		tidings.Subscribe(bus, writes[tidings.Event](d, "all 2"))
	}
	for _, tt := range []struct {
		reason string
		first  func(context.Context, *tidings.EventBus) error // before the subscriptions
	}{
		{"the type is new to the bus", func(context.Context, *tidings.EventBus) error { return nil }},
		{"the type was published before", func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Publish(ctx, bus, clientCreated{})
		}},
		{"the type was published behind an interface before", func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Publish[audited](ctx, bus, clientCreated{})
		}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			bus, d := tidings.New(), &diary{}
			require.NoError(t, tt.first(t.Context(), bus))
			subscribe(bus, d)
			require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
			require.Equal(t, want, d.read())
		})
	}
}

// Each of the ways in which a type can become known to a bus must lead to
// the same handlers.
func TestRoutingIsByDynamicType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason  string
		publish []func(context.Context, *tidings.EventBus) error
	}{
		{"static type", []func(context.Context, *tidings.EventBus) error{asItself, asItself}},
		{"behind Event, a type never published statically", []func(context.Context, *tidings.EventBus) error{asEvent, asEvent}},
		{"behind another interface", []func(context.Context, *tidings.EventBus) error{asAudited, asAudited}},
		{"behind Event, then statically", []func(context.Context, *tidings.EventBus) error{asEvent, asItself}},
		{"statically, then behind Event", []func(context.Context, *tidings.EventBus) error{asItself, asEvent}},
		{"behind both interfaces", []func(context.Context, *tidings.EventBus) error{asEvent, asAudited}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			t.Run("interface handlers alone", func(t *testing.T) {
				bus, d := tidings.New(), &diary{}
				tidings.Subscribe(bus, writes[tidings.Event](d, "all"))
				tidings.Subscribe(bus, writes[audited](d, "audited"))
				for _, publish := range tt.publish {
					require.NoError(t, publish(t.Context(), bus))
				}
				require.Equal(t, []string{"all", "audited", "all", "audited"}, d.read())
			})
			t.Run("a typed handler among them", func(t *testing.T) {
				bus, d := tidings.New(), &diary{}
				tidings.Subscribe(bus, writes[tidings.Event](d, "all"))
				tidings.Subscribe(bus, writes[clientCreated](d, "typed"))
				for _, publish := range tt.publish {
					require.NoError(t, publish(t.Context(), bus))
				}
				require.Equal(t, []string{"all", "typed", "all", "typed"}, d.read())
			})
			t.Run("a typed handler in between", func(t *testing.T) {
				bus, d := tidings.New(), &diary{}
				tidings.Subscribe(bus, writes[tidings.Event](d, "all"))
				require.NoError(t, tt.publish[0](t.Context(), bus))
				typed := tidings.Subscribe(bus, writes[clientCreated](d, "typed"))
				require.NoError(t, tt.publish[1](t.Context(), bus))
				typed.Unsubscribe()
				require.NoError(t, tt.publish[0](t.Context(), bus))
				require.Equal(t, []string{"all", "all", "typed", "all"}, d.read())
			})
		})
	}
}

func asItself(ctx context.Context, bus *tidings.EventBus) error {
	return tidings.Publish(ctx, bus, clientCreated{ClientID: 3})
}

func asEvent(ctx context.Context, bus *tidings.EventBus) error {
	return tidings.Publish[tidings.Event](ctx, bus, clientCreated{ClientID: 3})
}

func asAudited(ctx context.Context, bus *tidings.EventBus) error {
	return tidings.Publish[audited](ctx, bus, clientCreated{ClientID: 3})
}

// A bus meets a type behind an interface while others use it statically:
// whoever comes first, no event may miss a handler that was there before.
func TestRoutingWhileATypeBecomesKnown(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	for range 200 {
		bus := tidings.New()
		var calls [3]int
		var mu sync.Mutex
		tidings.Subscribe(bus, func(_ context.Context, e audited) error {
			mu.Lock()
			defer mu.Unlock()
			calls[e.(clientCreated).ClientID]++
			return nil
		})
		var start, done sync.WaitGroup
		start.Add(1)
		for i, publish := range []func(int64) error{
			func(i int64) error { return tidings.Publish(t.Context(), bus, clientCreated{ClientID: i}) },
			func(i int64) error {
				return tidings.Publish[tidings.Event](t.Context(), bus, clientCreated{ClientID: i})
			},
			func(i int64) error { return tidings.Publish[audited](t.Context(), bus, clientCreated{ClientID: i}) },
		} {
			done.Go(func() {
				start.Wait()
				if err := publish(int64(i)); err != nil {
					t.Error(err)
				}
			})
		}
		start.Done()
		done.Wait()
		require.Equal(t, [3]int{1, 1, 1}, calls)
	}
}

func TestGenericEventTypesAreDistinct(t *testing.T) {
	t.Parallel()
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, func(_ context.Context, e changed[int]) error {
		d.add("int %d to %d", e.Old, e.New)
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e changed[string]) error {
		d.add("string %q to %q", e.Old, e.New)
		return nil
	})
	require.NoError(t, tidings.Publish(t.Context(), bus, changed[int]{Old: 1, New: 2}))
	require.NoError(t, tidings.Publish[tidings.Event](t.Context(), bus, changed[string]{Old: "a", New: "b"}))
	require.NoError(t, tidings.Publish(t.Context(), bus, changed[bool]{}))
	require.Equal(t, []string{"int 1 to 2", `string "a" to "b"`}, d.read())
}

type changed[T any] struct {
	tidings.DomainEvent
	Old, New T
}
