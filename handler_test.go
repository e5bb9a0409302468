package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

// An optionOf is an option of a transport.
type optionOf string

func (o optionOf) String() string { return string(o) }

func TestTheTransportGetsTheHandler(t *testing.T) {
	t.Parallel()
	c := &courier{}
	bus := tidings.New()
	wait := func(attempt int) time.Duration { return time.Duration(attempt) * time.Second }
	plain := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("plain"), tidings.Via(c))
	all := tidings.Subscribe(bus, onAny[tidings.Event], tidings.Attempts(5), tidings.Attempts(7), tidings.Backoff(wait), tidings.Timeout(time.Minute),
		tidings.TransportOption(optionOf("courier.Queue")), tidings.TransportOption(optionOf("courier.Priority")), tidings.Named("all"), tidings.Via(c))

	h := c.handlers["plain"]
	require.NotNil(t, h.Deliver)
	h.Deliver = nil
	require.Equal(t, tidings.Handler{Name: "plain", EventType: reflect.TypeFor[clientCreated](), Subscription: plain}, h)

	h = c.handlers["all"]
	require.Equal(t, 3*time.Second, h.Backoff(3))
	h.Deliver, h.Backoff = nil, nil
	require.Equal(t, tidings.Handler{Name: "all", EventType: reflect.TypeFor[tidings.Event](), Attempts: 7, Timeout: time.Minute,
		Options: []fmt.Stringer{optionOf("courier.Queue"), optionOf("courier.Priority")}, Subscription: all}, h)
}

// A module says how often its handler is called, whoever wires it up.
func TestSettingsOfAHandlerWithoutARetryingTransport(t *testing.T) {
	t.Parallel()
	opts := tidings.SubscribeOptions{tidings.Attempts(5), tidings.Backoff(func(int) time.Duration { return time.Hour }), tidings.Timeout(time.Nanosecond)}
	for _, phase := range []tidings.SubscribeOption{tidings.AfterCommit, tidings.InTransaction, tidings.Async()} {
		bus := tidings.New(tidings.WithErrorHandler(func(context.Context, error) {}))
		var calls int
		tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
			_, limited := ctx.Deadline()
			require.False(t, limited)
			calls++
			return errDeclined
		}, phase, opts)
		_ = tidings.Publish(t.Context(), bus, clientCreated{}) // the failure, unless Async
		require.NoError(t, bus.Close(t.Context()))
		require.Equal(t, 1, calls)
	}
}

func TestSettingsThatCannotBe(t *testing.T) {
	t.Parallel()
	c := &courier{handle: func(h tidings.Handler) error { return fmt.Errorf("%v is for another transport", h.Options[0]) }}
	bus := tidings.New()
	queue := tidings.TransportOption(optionOf("durable.Queue"))
	subscribe := func(opts ...tidings.SubscribeOption) func() {
		return func() { tidings.Subscribe(bus, onAny[clientCreated], append(opts, tidings.Named("a"))...) }
	}
	for _, tt := range []struct {
		message string
		wire    func()
	}{
		{"tidings: Attempts(0): must be at least 1", func() { tidings.Attempts(0) }},
		{"tidings: Backoff with a nil function", func() { tidings.Backoff(nil) }},
		{"tidings: Timeout(0s): must be positive", func() { tidings.Timeout(0) }},
		{"tidings: Timeout(-1s): must be positive", func() { tidings.Timeout(-time.Second) }},
		{"tidings: TransportOption with a nil value", func() { tidings.TransportOption(nil) }},
		{"tidings: Subscribe: durable.Queue needs a transport: add tidings.Via", subscribe(queue)},
		{"tidings: Subscribe: durable.Queue needs a transport: add tidings.Via", subscribe(queue, tidings.AfterCommit)},
		{`tidings: Subscribe: *tidings.asyncTransport refuses the handler "a": durable.Queue is for another transport`, subscribe(queue, tidings.Async())},
		{`tidings: Subscribe: *tidings_test.courier refuses the handler "a": durable.Queue is for another transport`, subscribe(queue, tidings.Via(c))},
	} {
		require.PanicsWithValue(t, tt.message, tt.wire)
	}
	require.Empty(t, bus.Subscriptions())
}

// An event is sent once to each transport, with all its handlers there.
func TestEachTransportGetsAnEventOnce(t *testing.T) {
	t.Parallel()
	one, other := &courier{}, &courier{}
	bus := tidings.New()
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(one))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("b"), tidings.Via(one), tidings.Attempts(3))
	tidings.Subscribe(bus, onAny[tidings.Event], tidings.Named("c"), tidings.Via(one))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("d"), tidings.Via(other))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"clientCreated>a,b,c"}, one.sent())
	require.Equal(t, []string{"clientCreated>d"}, other.sent())

	// A transaction is one batch.
	require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		return errors.Join(tidings.Publish(ctx, bus, clientCreated{}), tidings.Publish(ctx, bus, clientCreated{}))
	}))
	require.Len(t, one.sent(), 2)
	require.Equal(t, "clientCreated>a,b,c clientCreated>a,b,c", one.sent()[1])
}

// The default transport sends each event once, also those without a handler.
func TestTheDefaultTransportGetsAnEventOnce(t *testing.T) {
	t.Parallel()
	c := &courier{}
	bus := tidings.New(tidings.WithTransport(c))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"clientCreated>"}, c.sent())
	a := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("b"), tidings.Via(c))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, "clientCreated>a,b", c.sent()[1])
	a.Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, "clientCreated>b", c.sent()[2])
}

func TestUnsubscribeStopsTheHandlerOfATransport(t *testing.T) {
	t.Parallel()
	c := &courier{}
	bus := tidings.New()
	a := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(c))
	b := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("b"), tidings.Via(c))
	require.True(t, a.Active())
	require.Empty(t, c.stopped)
	a.Unsubscribe()
	a.Unsubscribe()
	require.Equal(t, []string{"a"}, c.stopped, "once")
	require.False(t, a.Active())
	require.True(t, b.Active())
	b.Unsubscribe()
	require.Equal(t, []string{"a", "b"}, c.stopped)
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Empty(t, c.sent(), "there is no handler left")
}

// A handler may unsubscribe itself.
func TestStopInTheHandler(t *testing.T) {
	t.Parallel()
	c := &courier{}
	bus := tidings.New()
	var sub *tidings.Subscription
	sub = tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		sub.Unsubscribe()
		return nil
	}, tidings.Named("a"), tidings.Via(c))
	event := tidings.Stamp(t.Context(), clientCreated{})
	require.NoError(t, c.handlers["a"].Deliver(t.Context(), event))
	require.Equal(t, []string{"a"}, c.stopped)
	require.ErrorIs(t, c.handlers["a"].Deliver(t.Context(), event), tidings.ErrUnsubscribed)
}

func TestATransportRefusesAHandler(t *testing.T) {
	t.Parallel()
	c := &courier{handle: func(tidings.Handler) error { return errors.New("no more queues") }}
	bus := tidings.New()
	subscribe := func() { tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(c)) }
	require.PanicsWithValue(t, `tidings: Subscribe: *tidings_test.courier refuses the handler "a": no more queues`, subscribe)
	require.Empty(t, bus.Subscriptions())
	require.Empty(t, c.stopped, "there is nothing to stop")
	c.handle = nil
	require.NotPanics(t, subscribe, "the name is free")
}

// A transport can refuse a name that another bus has, and say where.
func TestATransportKnowsTheSubscription(t *testing.T) {
	t.Parallel()
	c := &courier{}
	c.handle = func(h tidings.Handler) error {
		other, known := c.handlers[h.Name]
		if known && other.Subscription.Active() {
			info := other.Subscription.Info()
			return fmt.Errorf("%s has that name, at %s:%d", info.EventType, info.File, info.Line)
		}
		return nil
	}
	one, two := tidings.New(), tidings.New()
	sub := tidings.Subscribe(one, onAny[clientCreated], tidings.Via(c), tidings.Named("a"))
	subscribe := func() { tidings.Subscribe(two, onAny[projectCreated], tidings.Via(c), tidings.Named("a")) }
	require.PanicsWithValue(t, fmt.Sprintf(`tidings: Subscribe: *tidings_test.courier refuses the handler "a": tidings_test.clientCreated has that name, at %s:%d`,
		sub.Info().File, sub.Info().Line), subscribe)
	require.Empty(t, two.Subscriptions())
	sub.Unsubscribe()
	require.NotPanics(t, subscribe)
	require.Equal(t, "tidings_test.projectCreated", c.handlers["a"].EventType.String())
}
