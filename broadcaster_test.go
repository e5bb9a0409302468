package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// A radio is a Broadcaster on a courier.
type radio struct {
	courier
	types   map[string]reflect.Type
	stopped []string
	refuse  error
}

func (r *radio) Sender() tidings.Transport { return r }

func (r *radio) Handle(string, func(context.Context, tidings.Event) error) error {
	return errors.New("HandleType is called in place of Handle")
}

func (r *radio) HandleType(name string, eventType reflect.Type, deliver func(context.Context, tidings.Event) error) (func(), error) {
	return r.handleFor(name, eventType, deliver)
}

func (r *radio) handleFor(name string, eventType reflect.Type, deliver func(context.Context, tidings.Event) error) (func(), error) {
	if r.refuse != nil {
		return func() { r.stopped = append(r.stopped, "refused "+name) }, r.refuse
	}
	if r.types == nil {
		r.types = map[string]reflect.Type{}
	}
	r.types[name] = eventType
	return func() { r.stopped = append(r.stopped, name) }, r.courier.Handle(name, deliver)
}

// A channel is a view of a radio.
type channel struct{ radio *radio }

func (c *channel) Phase() tidings.Phase      { return c.radio.Phase() }
func (c *channel) Sender() tidings.Transport { return c.radio }

func (c *channel) Send(context.Context, []tidings.Outgoing) error {
	return errors.New("Send of the Sender is called")
}

func (c *channel) Handle(string, func(context.Context, tidings.Event) error) error {
	return errors.New("HandleType is called in place of Handle")
}

func (c *channel) HandleType(name string, eventType reflect.Type, deliver func(context.Context, tidings.Event) error) (func(), error) {
	return c.radio.handleFor(name, eventType, deliver)
}

func nothing[E tidings.Event](context.Context, E) error { return nil }

// An event is sent once, for all handlers with the same Sender.
func TestBroadcasterSendsOnce(t *testing.T) {
	t.Parallel()
	one, other := &radio{}, &radio{}
	plain := &courier{}
	bus := tidings.New()
	tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("a"), tidings.Via(one))
	tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("b"), tidings.Via(&channel{one}))
	tidings.Subscribe(bus, nothing[tidings.Event], tidings.Named("c"), tidings.Via(&channel{one}))
	tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("d"), tidings.Via(other))
	tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("e"), tidings.Via(plain))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"clientCreated>a,b,c"}, one.sent())
	require.Equal(t, []string{"clientCreated>d"}, other.sent())
	require.Equal(t, []string{"clientCreated>e"}, plain.sent())
	require.Equal(t, map[string]reflect.Type{
		"a": reflect.TypeFor[clientCreated](), "b": reflect.TypeFor[clientCreated](), "c": reflect.TypeFor[tidings.Event](),
	}, one.types)

	// Each reaches its handler, and a transaction is one batch.
	require.NoError(t, tidings.Transact(t.Context(), func(ctx context.Context, body func(context.Context) error) error { return body(ctx) },
		func(ctx context.Context) error {
			return errors.Join(tidings.Publish(ctx, bus, clientCreated{}), tidings.Publish(ctx, bus, clientCreated{}))
		}))
	require.Len(t, one.sent(), 2)
	require.Equal(t, "clientCreated>a,b,c clientCreated>a,b,c", one.sent()[1])
}

// The default transport sends each event once, through its Sender, also those
// without a handler.
func TestBroadcasterAsDefault(t *testing.T) {
	t.Parallel()
	for _, view := range []bool{false, true} {
		r := &radio{}
		var transport tidings.Transport = r
		if view {
			transport = &channel{r}
		}
		bus := tidings.New(tidings.WithTransport(transport))
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
		require.Equal(t, []string{"clientCreated>"}, r.sent())
		a := tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("a"))
		tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("b"), tidings.Via(&channel{r}))
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
		require.Equal(t, "clientCreated>a,b", r.sent()[1])
		a.Unsubscribe()
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
		require.Equal(t, "clientCreated>b", r.sent()[2])
	}
}

func TestBroadcasterStops(t *testing.T) {
	t.Parallel()
	r := &radio{}
	bus := tidings.New()
	a := tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("a"), tidings.Via(r))
	b := tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("b"), tidings.Via(&channel{r}))
	require.True(t, a.Active())
	require.Empty(t, r.stopped)
	a.Unsubscribe()
	a.Unsubscribe()
	require.Equal(t, []string{"a"}, r.stopped, "once")
	require.False(t, a.Active())
	require.True(t, b.Active())
	b.Unsubscribe()
	require.Equal(t, []string{"a", "b"}, r.stopped)
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Empty(t, r.sent(), "there is nobody left to send to")
}

// Stop may be called in the handler that it stops.
func TestBroadcasterStopsInTheHandler(t *testing.T) {
	t.Parallel()
	r := &radio{}
	bus := tidings.New()
	var sub *tidings.Subscription
	sub = tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		sub.Unsubscribe()
		return nil
	}, tidings.Named("a"), tidings.Via(r))
	event := tidings.Stamp(t.Context(), clientCreated{})
	require.NoError(t, r.handlers["a"](t.Context(), event))
	require.Equal(t, []string{"a"}, r.stopped)
	require.ErrorIs(t, r.handlers["a"](t.Context(), event), tidings.ErrUnsubscribed)
}

func TestBroadcasterRefuses(t *testing.T) {
	t.Parallel()
	r := &radio{refuse: errors.New("no more queues")}
	bus := tidings.New()
	defer func() {
		require.Contains(t, recover(), `does not take the handler "a": no more queues`)
		require.Empty(t, bus.Subscriptions())
		require.Empty(t, r.stopped, "there is nothing to stop")
		r.refuse = nil
		tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("a"), tidings.Via(r))
	}()
	tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("a"), tidings.Via(r))
}

// What a transport delivers to a handler that has gone is not the handler's
// failure, and says whose it would have been.
func TestErrUnsubscribed(t *testing.T) {
	t.Parallel()
	for _, transport := range []interface {
		tidings.Transport
		deliver(name string, event tidings.Event) error
	}{&radio{}, &courier{}} {
		bus := tidings.New()
		called := false
		sub := tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			called = true
			return nil
		}, tidings.Named("crm.onboard"), tidings.Via(transport))
		sub.Unsubscribe()
		err := transport.deliver("crm.onboard", tidings.Stamp(t.Context(), clientCreated{}))
		require.ErrorIs(t, err, tidings.ErrUnsubscribed)
		require.EqualError(t, err, "tidings: crm.onboard is no longer subscribed")
		he := (*tidings.HandlerError)(nil)
		require.False(t, errors.As(err, &he))
		require.False(t, called)
	}
}

func (c *courier) deliver(name string, event tidings.Event) error {
	return c.handlers[name](context.Background(), event)
}

// Active is for all subscriptions.
func TestActive(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	plain := tidings.Subscribe(bus, nothing[clientCreated])
	once := tidings.Subscribe(bus, nothing[clientCreated], tidings.Once())
	async := tidings.Subscribe(bus, nothing[clientCreated], tidings.Async())
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.True(t, plain.Active())
	require.False(t, once.Active(), "it has had its event")
	require.True(t, async.Active())
	async.Unsubscribe()
	require.False(t, async.Active())
	require.NoError(t, bus.Close(t.Context()))
	require.True(t, plain.Active(), "Close ends no subscription")
}

func TestTypeOf(t *testing.T) {
	t.Parallel()
	var registry tidings.Registry
	tidings.Register[clientCreated](&registry, "crm.client_created", 2)
	tidings.Upcast(&registry, "crm.only_upcast", 1, func(e clientCreated) (clientCreated, error) { return e, nil })
	typ, ok := registry.TypeOf("crm.client_created")
	require.True(t, ok)
	require.Equal(t, reflect.TypeFor[clientCreated](), typ)
	for _, name := range []string{"", "crm.unknown", "CRM.CLIENT_CREATED", "crm.only_upcast"} {
		typ, ok = registry.TypeOf(name)
		require.False(t, ok, name)
		require.Nil(t, typ, name)
	}
	var zero tidings.Registry
	_, ok = zero.TypeOf("x")
	require.False(t, ok)
}

// Subscriptions tells what Via was given.
func TestSubscriptionsShowTheTransport(t *testing.T) {
	t.Parallel()
	r := &radio{}
	view := &channel{r}
	bus := tidings.New()
	sub := tidings.Subscribe(bus, nothing[clientCreated], tidings.Named("a"), tidings.Via(view))
	require.Same(t, view, sub.Info().Transport, "the view, and not its Sender")
	require.Equal(t, bus.Subscriptions()[0], sub.Info())
	require.True(t, strings.HasSuffix(sub.Info().File, "broadcaster_test.go"), fmt.Sprint(sub.Info()))
}

// Several options as one are those, also nested; none are none.
func TestSubscribeOptions(t *testing.T) {
	t.Parallel()
	r, bus := &radio{}, tidings.New()
	calls := 0
	count := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error {
			calls++
			return next(ctx, d)
		}
	})
	sub := tidings.Subscribe(bus, nothing[clientCreated], tidings.SubscribeOptions{
		tidings.Named("a"), tidings.SubscribeOptions{tidings.Via(r), count}, tidings.SubscribeOptions(nil),
	})
	require.Equal(t, "a", sub.Info().Handler)
	require.Same(t, r, sub.Info().Transport)
	require.NoError(t, r.handlers["a"](t.Context(), tidings.Stamp(t.Context(), clientCreated{})))
	require.Equal(t, 1, calls)
	require.PanicsWithValue(t, "tidings: Subscribe with a nil SubscribeOption", func() {
		tidings.Subscribe(bus, nothing[clientCreated], tidings.SubscribeOptions{nil})
	})
}
