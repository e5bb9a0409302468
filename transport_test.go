package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

// What a transport delivers to a handler that has gone is not the handler's
// failure, and says whose it would have been.
func TestErrUnsubscribed(t *testing.T) {
	t.Parallel()
	c := &courier{}
	bus := tidings.New()
	called := false
	sub := tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		called = true
		return nil
	}, tidings.Named("crm.onboard"), tidings.Via(c))
	sub.Unsubscribe()
	err := c.handlers["crm.onboard"].Deliver(t.Context(), tidings.Stamp(t.Context(), clientCreated{}))
	require.ErrorIs(t, err, tidings.ErrUnsubscribed)
	require.EqualError(t, err, "tidings: crm.onboard is no longer subscribed")
	he := (*tidings.HandlerError)(nil)
	require.False(t, errors.As(err, &he))
	require.False(t, called)
}

// Subscriptions tells what Via was given.
func TestSubscriptionsShowTheTransport(t *testing.T) {
	t.Parallel()
	c := &courier{}
	bus := tidings.New()
	sub := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(c))
	require.Same(t, c, sub.Info().Transport)
	require.Equal(t, bus.Subscriptions()[0], sub.Info())
	require.True(t, strings.HasSuffix(sub.Info().File, "transport_test.go"), fmt.Sprint(sub.Info()))
}

// A courier is a small Transport: it keeps what it is sent, and hands it to
// the handlers when a test asks it to.
type courier struct {
	phase  tidings.Phase
	encode func(tidings.Outgoing) (any, error)             // what Encode returns
	send   func(context.Context, []tidings.Outgoing) error // what Send returns
	handle func(tidings.Handler) error                     // what Handle returns

	mu       sync.Mutex
	batches  [][]tidings.Outgoing
	handlers map[string]tidings.Handler
	stopped  []string
}

func (c *courier) Phase() tidings.Phase { return c.phase }

func (c *courier) Encode(_ context.Context, event tidings.Outgoing) (any, error) {
	if c.encode != nil {
		return c.encode(event)
	}
	return nil, nil
}

func (c *courier) Send(ctx context.Context, events []tidings.Outgoing) error {
	c.mu.Lock()
	c.batches = append(c.batches, slices.Clone(events))
	c.mu.Unlock()
	if c.send != nil {
		return c.send(ctx, events)
	}
	return nil
}

func (c *courier) Handle(h tidings.Handler) (func(), error) {
	if c.handle != nil {
		if err := c.handle(h); err != nil {
			return func() { c.stopped = append(c.stopped, "refused "+h.Name) }, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handlers == nil {
		c.handlers = map[string]tidings.Handler{}
	}
	c.handlers[h.Name] = h
	return func() { c.stopped = append(c.stopped, h.Name) }, nil
}

// sent lists the batches: "tidings_test.clientCreated>a,b" for each event,
// separated by blanks.
func (c *courier) sent() (lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, batch := range c.batches {
		var words []string
		for _, d := range batch {
			words = append(words, fmt.Sprintf("%T>%s", d.Event, strings.Join(d.Handlers, ",")))
		}
		lines = append(lines, strings.ReplaceAll(strings.Join(words, " "), "tidings_test.", ""))
	}
	return lines
}

// deliverAll delivers everything that was sent, in order.
func (c *courier) deliverAll(ctx context.Context) (errs []error) {
	c.mu.Lock()
	batches := c.batches
	c.batches = nil
	c.mu.Unlock()
	for _, d := range slices.Concat(batches...) {
		for _, name := range d.Handlers {
			errs = append(errs, c.handlers[name].Deliver(ctx, d.Event))
		}
	}
	return errs
}

func TestViaRunsTheHandlerWhereTheTransportDelivers(t *testing.T) {
	t.Parallel()
	bus, c, d := tidings.New(), &courier{}, &diary{}
	var sent, received, effect tidings.Event
	tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		received = e
		d.add("via %d", e.ClientID)
		from, ok := tidings.EventFrom(ctx)
		require.True(t, ok)
		require.Equal(t, tidings.Event(e), from)
		if err := tidings.Publish(ctx, bus, projectCreated{}); err != nil {
			return err
		}
		return errDeclined
	}, tidings.Via(c), tidings.Named("clients.onboard"), traces(d, "middleware"))
	tidings.Subscribe(bus, writes[clientCreated](d, "here"))
	tidings.Subscribe(bus, func(_ context.Context, e projectCreated) error {
		effect = e
		return nil
	})

	require.NoError(t, tidings.Publish(tidings.WithCorrelationID(t.Context(), uuid.New()), bus, clientCreated{ClientID: 3}))
	require.Equal(t, []string{"here"}, d.read())
	require.Equal(t, []string{"clientCreated>clients.onboard"}, c.sent())
	sent = c.batches[0][0].Event
	require.NotEqual(t, uuid.Nil, sent.EventID())

	errs := c.deliverAll(t.Context())
	require.EqualError(t, errs[0], "tidings: clients.onboard handling tidings_test.clientCreated: card declined")
	require.Len(t, handlerErrors(t, errs[0]), 1)
	require.Equal(t, []string{"here", "> middleware", "via 3", "< middleware"}, d.read())
	require.Equal(t, sent, received)
	require.Equal(t, sent.CorrelationID(), effect.CorrelationID())
	require.Equal(t, sent.EventID(), effect.CausationID())
}

func TestSendIsCalledOncePerEventWithAllItsHandlers(t *testing.T) {
	t.Parallel()
	bus, c, other := tidings.New(), &courier{}, &courier{}
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("a"))
	tidings.Subscribe(bus, onAny[tidings.Event], tidings.Via(c), tidings.Named("all"))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(other), tidings.Named("o"))
	b := tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("b"))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.NoError(t, tidings.Publish(t.Context(), bus, projectCreated{}))
	b.Unsubscribe()
	require.NoError(t, tidings.Publish[tidings.Event](t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"clientCreated>a,all,b", "projectCreated>all", "clientCreated>a,all"}, c.sent())
	require.Equal(t, []string{"clientCreated>o", "clientCreated>o"}, other.sent())
	for _, err := range c.deliverAll(t.Context())[:2] {
		require.NoError(t, err)
	}
}

func TestSendIsCalledOncePerTransactionWithAllItsEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		phase tidings.Phase
		want  []string
	}{
		{tidings.AfterCommit, []string{"clientCreated>a projectCreated> clientCreated>a"}},
		{tidings.BeforeCommit, []string{"clientCreated>a projectCreated> clientCreated>a"}},
		{tidings.InTransaction, []string{"clientCreated>a", "projectCreated>", "clientCreated>a"}},
	} {
		t.Run(tt.phase.String(), func(t *testing.T) {
			c := &courier{phase: tt.phase}
			bus := tidings.New(tidings.WithTransport(c))
			tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"))
			ctx, hook := tidings.NewTxHook(t.Context(), txtest.Database)
			require.NoError(t, tidings.Publish(ctx, bus, clientCreated{}))
			require.NoError(t, tidings.Publish(ctx, bus, projectCreated{}))
			require.NoError(t, tidings.Publish(ctx, bus, clientCreated{}))
			if tt.phase != tidings.InTransaction {
				require.Empty(t, c.sent())
			}
			require.NoError(t, hook.Prepare(ctx))
			require.Equal(t, tt.phase == tidings.AfterCommit, len(c.sent()) == 0)
			require.NoError(t, hook.Commit(ctx))
			require.Equal(t, tt.want, c.sent())

			require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
			require.Equal(t, "clientCreated>a", c.sent()[len(tt.want)], "one at once outside of a transaction")
		})
	}
}

func TestWithTransportIsTheDefault(t *testing.T) {
	t.Parallel()
	c, own, d := &courier{}, &courier{}, &diary{}
	bus := tidings.New(tidings.WithTransport(c))
	tidings.Subscribe(bus, writes[clientCreated](d, "default"), tidings.Named("default"))
	tidings.Subscribe(bus, writes[audited](d, "family"), tidings.Named("family"))
	tidings.Subscribe(bus, writes[clientCreated](d, "own"), tidings.Via(own), tidings.Named("own"))
	tidings.Subscribe(bus, writes[clientCreated](d, "local"), tidings.AfterCommit)
	tidings.Subscribe(bus, writes[clientCreated](d, "early"), tidings.InTransaction)
	tidings.Subscribe(bus, writes[proposalAccepted](d, "async"), tidings.Async())

	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"early", "local"}, d.read(), "an explicit phase stays here")
	require.NoError(t, tidings.Publish(t.Context(), bus, projectCreated{}))
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.NoError(t, tidings.Publish(t.Context(), bus, changed[int]{}), "nobody subscribes to it")
	require.NoError(t, tidings.Publish[tidings.Event](t.Context(), bus, changed[int]{}))
	require.Equal(t, []string{"clientCreated>default,family", "projectCreated>family", "proposalAccepted>", "changed[int]>", "changed[int]>"}, c.sent())
	require.Equal(t, []string{"clientCreated>own"}, own.sent())
	for _, batch := range c.batches[2:] {
		require.Empty(t, batch[0].Handlers)
		require.NotEqual(t, uuid.Nil, batch[0].Event.EventID(), "it is stamped all the same")
	}
	for _, err := range c.deliverAll(t.Context()) {
		require.NoError(t, err)
	}
	require.NoError(t, bus.Close(t.Context()))
	require.ElementsMatch(t, []string{"early", "local", "async", "default", "family", "family"}, d.read())

	infos := bus.Subscriptions()
	require.Same(t, c, infos[0].Transport)
	require.Same(t, own, infos[2].Transport)
	require.Nil(t, infos[3].Transport)
}

func TestTransportsComeBeforeLocalHandlers(t *testing.T) {
	t.Parallel()
	d := &diary{}
	c := &courier{send: func(context.Context, []tidings.Outgoing) error {
		d.add("sent")
		return nil
	}}
	bus := tidings.New()
	tidings.Subscribe(bus, writes[clientCreated](d, "local"))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("a"))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"sent", "local"}, d.read(), "a handler that takes the process down does not take the event along")
}

// manyErrors is what some libraries join errors with.
type manyErrors []error

func (e manyErrors) Error() string   { return "many errors" }
func (e manyErrors) Unwrap() []error { return e }

func TestFailuresOfSend(t *testing.T) {
	t.Parallel()
	errDown := errors.New("broker down")
	const client = " handling tidings_test.clientCreated: not accepted by *tidings_test.courier: "
	for _, tt := range []struct {
		reason string
		send   func(deliveries []tidings.Outgoing) error
		want   []string
	}{
		{"an error counts for every event", func([]tidings.Outgoing) error { return errDown },
			[]string{"tidings: a, b" + client + "broker down", "tidings: *tidings_test.courier handling tidings_test.projectCreated: not accepted by *tidings_test.courier: broker down"}},
		{"so does one that wraps several", func([]tidings.Outgoing) error {
			return fmt.Errorf("send 7: %w: %w", errDown, context.DeadlineExceeded)
		},
			[]string{"tidings: a, b" + client + "send 7: broker down: context deadline exceeded", "tidings: *tidings_test.courier handling tidings_test.projectCreated: not accepted by *tidings_test.courier: send 7: broker down: context deadline exceeded"}},
		{"and one that wraps none", func([]tidings.Outgoing) error { return manyErrors{} },
			[]string{"tidings: a, b" + client + "many errors", "tidings: *tidings_test.courier handling tidings_test.projectCreated: not accepted by *tidings_test.courier: many errors"}},
		{"a panic is contained", func([]tidings.Outgoing) error { panic(errDown) },
			[]string{"tidings: a, b" + client + "panic: broker down", "tidings: *tidings_test.courier handling tidings_test.projectCreated: not accepted by *tidings_test.courier: panic: broker down"}},
		{"HandlerErrors say what was not accepted", func(deliveries []tidings.Outgoing) error {
			return errors.Join(
				&tidings.HandlerError{Handler: "a", Event: deliveries[0].Event, Err: errDown},
				&tidings.HandlerError{Handler: "b", Event: deliveries[0].Event, Err: tidings.ErrQueueFull})
		},
			[]string{"tidings: a handling tidings_test.clientCreated: broker down", "tidings: b handling tidings_test.clientCreated: queue full"}},
		{"a single one, too", func(deliveries []tidings.Outgoing) error {
			return &tidings.HandlerError{Handler: "b", Event: deliveries[0].Event, Err: errDown}
		},
			[]string{"tidings: b handling tidings_test.clientCreated: broker down"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			wire := func(events int) (*tidings.EventBus, *failures, *diary) {
				f, d := &failures{}, &diary{}
				c := &courier{}
				c.send = func(_ context.Context, deliveries []tidings.Outgoing) error {
					if len(deliveries) != events {
						return nil
					}
					return tt.send(deliveries)
				}
				bus := tidings.New(tidings.WithTransport(c), tidings.WithErrorHandler(f.handle))
				tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"))
				tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("b"))
				tidings.Subscribe(bus, writes[clientCreated](d, "local"), tidings.AfterCommit)
				return bus, f, d
			}
			t.Run("outside of a transaction Publish returns them", func(t *testing.T) {
				bus, f, d := wire(1)
				err := tidings.Publish(t.Context(), bus, clientCreated{})
				var messages []string
				for _, he := range handlerErrors(t, err) {
					messages = append(messages, he.Error())
					require.IsType(t, clientCreated{}, he.Event)
				}
				alone := slices.DeleteFunc(slices.Clone(tt.want), func(s string) bool { return strings.Contains(s, "projectCreated") })
				require.Equal(t, alone, messages)
				require.Equal(t, tt.reason != "and one that wraps none", errors.Is(err, errDown))
				require.Equal(t, []string{"local"}, d.read(), "other handlers run")
				require.Empty(t, f.messages())
			})
			t.Run("after a commit they are reported", func(t *testing.T) {
				bus, f, d := wire(2)
				require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
					return errors.Join(tidings.Publish(ctx, bus, clientCreated{}), tidings.Publish(ctx, bus, projectCreated{}))
				}))
				require.Equal(t, tt.want, f.messages())
				require.Equal(t, []string{"local"}, d.read())
				for i, err := range f.errs {
					var he *tidings.HandlerError
					require.ErrorAs(t, err, &he)
					require.Equal(t, he.Event, f.events[i])
				}
			})
		})
	}
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	bus, c, d := tidings.New(), &courier{}, &diary{}
	sub := tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		d.add("client %d", e.ClientID)
		if e.ClientID < 0 {
			panic("no such client")
		}
		return nil
	}, tidings.Via(c), tidings.Named("typed"))
	tidings.Subscribe(bus, func(_ context.Context, e audited) error {
		d.add("%s", e.AuditLine())
		return nil
	}, tidings.Via(c), tidings.Named("family"))
	typed, family := c.handlers["typed"].Deliver, c.handlers["family"].Deliver

	stored := tidings.Stamp(t.Context(), clientCreated{ClientID: 3})
	require.NoError(t, typed(t.Context(), stored))
	require.NoError(t, family(t.Context(), stored))
	require.NoError(t, family(t.Context(), tidings.Stamp(t.Context(), projectCreated{ProjectID: 4})))
	require.Equal(t, []string{"client 3", "client 3 created", "project 4 created"}, d.read())

	err := typed(t.Context(), tidings.Stamp(t.Context(), clientCreated{ClientID: -1}))
	require.EqualError(t, err, "tidings: typed handling tidings_test.clientCreated: panic: no such client")
	require.EqualError(t, typed(t.Context(), stampedProposal(t)), "tidings: typed handles tidings_test.clientCreated, but tidings_test.proposalAccepted was delivered to it")
	require.EqualError(t, family(t.Context(), stampedProposal(t)), "tidings: family handles tidings_test.audited, but tidings_test.proposalAccepted was delivered to it")
	require.EqualError(t, typed(t.Context(), nil), "tidings: a nil event was delivered")

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, typed(cancelled, stored), context.Canceled)

	// The transport keeps what it may not drop, until the handler is back.
	sub.Unsubscribe()
	require.EqualError(t, typed(t.Context(), stored), "tidings: typed is no longer subscribed")
	tidings.Subscribe(bus, writes[clientCreated](d, "back"), tidings.Via(c), tidings.Named("typed"))
	require.NoError(t, c.handlers["typed"].Deliver(t.Context(), stored))

	require.NoError(t, bus.Close(t.Context()))
	require.ErrorIs(t, family(t.Context(), stored), tidings.ErrClosed)
	require.Equal(t, []string{"client 3", "client 3 created", "project 4 created", "client -1", "back"}, d.read())
}

func stampedProposal(t *testing.T) tidings.Event {
	return tidings.Stamp(t.Context(), proposalAccepted{})
}

func TestDeliverClonesTheEvent(t *testing.T) {
	t.Parallel()
	bus, c := tidings.New(), &courier{}
	for _, name := range []string{"a", "b"} {
		tidings.Subscribe(bus, func(_ context.Context, e orderPlaced) error {
			e.Stock["apples"]++
			require.Equal(t, 2, e.Stock["apples"])
			return nil
		}, tidings.Via(c), tidings.Named(name))
	}
	event := placed(nil)
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	event.Stock["apples"] = 50 // the publisher goes on
	for range 2 {              // as does a transport that retries
		c.batches = append(c.batches, c.batches[0])
	}
	for _, err := range c.deliverAll(t.Context()) {
		require.NoError(t, err)
	}
}

// byValue is a transport that == panics on.
type byValue struct {
	*courier
	_ []string
}

func TestTransportsAreWiredCorrectlyOrNotAtAll(t *testing.T) {
	t.Parallel()
	c, other := &courier{}, &courier{}
	late := &courier{phase: tidings.AfterRollback}
	full := &courier{handle: func(tidings.Handler) error { return errors.New("too many handlers") }}
	bus, withDefault := tidings.New(), tidings.New(tidings.WithTransport(c))
	subscribe := func(bus *tidings.EventBus, opts ...tidings.SubscribeOption) func() {
		return func() { tidings.Subscribe(bus, onAny[clientCreated], opts...) }
	}
	for _, tt := range []struct {
		message string
		wire    func()
	}{
		{`tidings: Subscribe: tidings_test.onAny[...] goes through *tidings_test.courier, which binds to the handler's name: add tidings.Named("tidings_test.onAny[...]") or the like`, subscribe(bus, tidings.Via(c))},
		{`tidings: Subscribe: tidings_test.onAny[...] goes through *tidings_test.courier, which binds to the handler's name: add tidings.Named("tidings_test.onAny[...]") or the like`, subscribe(withDefault)},
		{"tidings: Subscribe with AfterCommit and a transport: the transport's own phase counts; leave one of them out", subscribe(bus, tidings.Via(c), tidings.AfterCommit, tidings.Named("a"))},
		{"tidings: Subscribe with InTransaction and a transport: the transport's own phase counts; leave one of them out", subscribe(bus, tidings.InTransaction, tidings.Via(c), tidings.Named("a"))},
		{"tidings: Subscribe with two transports, *tidings_test.courier and *tidings_test.courier", subscribe(bus, tidings.Via(c), tidings.Via(other), tidings.Named("a"))},
		{"tidings: Subscribe: Once counts in this process, and *tidings_test.courier may deliver in another: leave one of them out", subscribe(bus, tidings.Via(c), tidings.Once(), tidings.Named("a"))},
		{`tidings: Subscribe: *tidings_test.courier refuses the handler "a": too many handlers`, subscribe(bus, tidings.Via(full), tidings.Named("a"))},
		{"tidings: *tidings_test.courier sends in phase AfterRollback: it must be InTransaction, BeforeCommit or AfterCommit", func() { tidings.Via(late) }},
		{"tidings: *tidings_test.courier sends in phase AfterRollback: it must be InTransaction, BeforeCommit or AfterCommit", func() { tidings.WithTransport(late) }},
		{"tidings: tidings_test.byValue is not comparable: make the transport a pointer", func() { tidings.Via(byValue{courier: c}) }},
		{"tidings: tidings_test.byValue is not comparable: make the transport a pointer", func() { tidings.WithTransport(byValue{courier: c}) }},
	} {
		require.PanicsWithValue(t, tt.message, tt.wire)
	}
	require.Empty(t, bus.Subscriptions())
	require.Empty(t, withDefault.Subscriptions())
	require.Empty(t, c.handlers)
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Empty(t, c.sent())
	require.NotPanics(t, subscribe(bus, tidings.Via(c), tidings.Via(c), tidings.Named("a")), "the name is free, and twice the same transport no contradiction")
}

// A transport learns of a handler before any event is routed to it.
func TestHandleComesBeforeSend(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus := tidings.New()
	c := &courier{}
	c.handle = func(tidings.Handler) error { return tidings.Publish(t.Context(), bus, clientCreated{}) }
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("a"))
	require.Empty(t, c.sent())
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"clientCreated>a"}, c.sent())
}
