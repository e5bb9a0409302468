package tidings_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// A badType is a type of events that a bus refuses.
type badType struct {
	reason, message            string
	publish, publishBoxed      func(context.Context, *tidings.EventBus) error
	subscribe, stamp, stampAny func(*tidings.EventBus)
}

func bad[E tidings.Event](reason, message string, event E) badType {
	return badType{
		reason: reason, message: message,
		publish: func(ctx context.Context, bus *tidings.EventBus) error { return tidings.Publish(ctx, bus, event) },
		publishBoxed: func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Publish[tidings.Event](ctx, bus, event)
		},
		subscribe: func(bus *tidings.EventBus) {
			tidings.Subscribe(bus, func(context.Context, E) error { return nil })
		},
		stamp:    func(*tidings.EventBus) { tidings.Stamp(context.Background(), event) },
		stampAny: func(*tidings.EventBus) { tidings.Stamp[tidings.Event](context.Background(), event) },
	}
}

// requireRefused checks that the bus does not let the type in anywhere.
func (b badType) requireRefused(t *testing.T, opts ...tidings.Option) {
	t.Helper()
	for range 2 { // the second time from the cache
		bus := tidings.New(opts...)
		tidings.Subscribe(bus, func(context.Context, tidings.Event) error {
			t.Error("a handler was called")
			return nil
		})
		require.EqualError(t, b.publishBoxed(t.Context(), bus), b.message)
		require.EqualError(t, b.publish(t.Context(), bus), b.message)
		require.EqualError(t, b.publishBoxed(t.Context(), bus), b.message)
		require.PanicsWithValue(t, b.message, func() { b.subscribe(bus) })
		require.Len(t, bus.Subscriptions(), 1)

		fresh := tidings.New(opts...)
		require.PanicsWithValue(t, b.message, func() { b.subscribe(fresh) })
		require.EqualError(t, b.publish(t.Context(), fresh), b.message, "also where nobody subscribes")
		require.Empty(t, fresh.Subscriptions())
	}
}

// holding is an event with one field.
type holding[T any] struct {
	tidings.DomainEvent
	Field T
}

type tenantEvent struct {
	Tenant string
	tidings.DomainEvent
}

type pointedAtHeader struct{ *tidings.DomainEvent }

type embedsPointer struct {
	*tidings.DomainEvent
	N int
}

type embedsPointerDeeper struct {
	pointedAtHeader
	N int
}

type embedsBasePointer struct {
	*tenantEvent
	N int
}

type embedsTwo struct {
	tidings.DomainEvent
	tenantEvent
}

type embedsEvent struct {
	tidings.Event
	N int
}

type embedsFamily struct {
	N int
	audited
}

func TestTypesThatAreNoEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []badType{
		bad("a pointer", "tidings: *tidings_test.proposalAccepted is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.proposalAccepted itself", &proposalAccepted{}),
		bad("a nil pointer", "tidings: *tidings_test.clientCreated is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.clientCreated itself", (*clientCreated)(nil)),
		bad("a header by pointer", "tidings: tidings_test.embedsPointer embeds *tidings.DomainEvent, which handlers would share: embed tidings.DomainEvent by value", embedsPointer{DomainEvent: &tidings.DomainEvent{}}),
		bad("a nil header by pointer", "tidings: tidings_test.pointedAtHeader embeds *tidings.DomainEvent, which handlers would share: embed tidings.DomainEvent by value", pointedAtHeader{}),
		bad("a header by pointer, one level down", "tidings: tidings_test.embedsPointerDeeper embeds *tidings.DomainEvent, which handlers would share: embed tidings.DomainEvent by value", embedsPointerDeeper{}),
		bad("a base by pointer", "tidings: tidings_test.embedsBasePointer embeds *tidings_test.tenantEvent, which handlers would share: embed tidings.DomainEvent by value", embedsBasePointer{tenantEvent: &tenantEvent{}}),
		bad("two headers", "tidings: tidings_test.embedsTwo embeds 2 headers: an event has one tidings.DomainEvent; make the others named fields", embedsTwo{}),
		bad("an event behind an interface", "tidings: tidings_test.embedsEvent embeds tidings.Event, which handlers would share: embed tidings.DomainEvent by value", embedsEvent{Event: clientCreated{}}),
		bad("a nil event behind an interface", "tidings: tidings_test.embedsFamily embeds tidings_test.audited, which handlers would share: embed tidings.DomainEvent by value", embedsFamily{}),
		bad("the bare header", "tidings: tidings.DomainEvent is no event type: declare a struct that embeds tidings.DomainEvent", tidings.DomainEvent{}),
	} {
		t.Run(tt.reason, func(t *testing.T) {
			tt.requireRefused(t)
			tt.requireRefused(t, tidings.WithSharedEvents()) // which is about other memory
			require.PanicsWithValue(t, tt.message, func() { tt.stamp(nil) })
			require.PanicsWithValue(t, tt.message, func() { tt.stampAny(nil) })
		})
	}
	require.PanicsWithValue(t, "tidings: Stamp of a nil event", func() { tidings.Stamp[tidings.Event](t.Context(), nil) })
}

type ledgerEvent struct {
	before int64
	tenantEvent
	after int64
}

type entryBooked struct {
	Amount int64
	ledgerEvent
	Note string
}

type genericBase[T any] struct {
	Value T
	tidings.DomainEvent
}

type valueChanged struct{ genericBase[[3]string] }

type citesAnother struct {
	tidings.DomainEvent
	Cause tidings.DomainEvent // a named field is no second header
	Quote clientCreated
}

// The header is written at an offset that reflection found. Wherever that
// is, the neighbours must stay as they were.
func TestHeaderIsFoundInEmbeddedStructs(t *testing.T) {
	t.Parallel()
	requireStamped(t, tenantEvent{Tenant: "acme"})
	booked := requireStamped(t, entryBooked{Amount: 1, ledgerEvent: ledgerEvent{before: 2, tenantEvent: tenantEvent{Tenant: "acme"}, after: 3}, Note: "four"})
	require.Equal(t, []any{int64(1), int64(2), "acme", int64(3), "four"}, []any{booked.Amount, booked.before, booked.Tenant, booked.after, booked.Note})
	value := requireStamped(t, valueChanged{genericBase[[3]string]{Value: [3]string{"a", "b", "c"}}})
	require.Equal(t, [3]string{"a", "b", "c"}, value.Value)
	requireStamped(t, changed[tenantEvent]{Old: tenantEvent{Tenant: "acme"}})

	earlier := tidings.Stamp(t.Context(), clientCreated{ClientID: 3})
	cites := requireStamped(t, citesAnother{Cause: earlier.DomainEvent, Quote: earlier})
	require.Equal(t, earlier.DomainEvent, cites.Cause)
	require.Equal(t, earlier, cites.Quote)

	requireStamped(t, struct {
		tidings.DomainEvent
		N int
	}{N: 7})
}

// requireStamped publishes event in every way and returns what arrived.
func requireStamped[E tidings.Event](t *testing.T, event E) (got E) {
	t.Helper()
	bus := tidings.New()
	calls := 0
	tidings.Subscribe(bus, func(ctx context.Context, e E) error {
		calls++
		require.NotEqual(t, uuid.Nil, e.EventID())
		require.Equal(t, e.EventID(), e.CorrelationID())
		require.False(t, e.OccurredAt().IsZero())
		require.Equal(t, e.EventID(), tidings.Stamp(ctx, clientCreated{}).CausationID())
		got = e
		return nil
	})
	require.NoError(t, tidings.Publish[tidings.Event](t.Context(), bus, event))
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	require.NoError(t, tidings.Publish(t.Context(), bus, tidings.Stamp(t.Context(), event)))
	require.NoError(t, tidings.Publish(t.Context(), bus, tidings.Stamp[tidings.Event](t.Context(), event)))
	require.Equal(t, 4, calls)
	require.Equal(t, uuid.Nil, event.EventID())
	return got
}
