package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

// An encoderRig is a bus with a transport that encodes txtest.Events: 7 becomes
// "e7", and what arrives in Send is noted as "send(e7@a)".
type encoderRig struct {
	*txtest.Rig
	phase tidings.Phase
	label string
	then  func(tidings.Event) (any, error) // what EncodeEvent returns
}

func newEncoderRig(phase tidings.Phase) *encoderRig {
	r := &encoderRig{Rig: txtest.NewRig().Phases(), phase: phase}
	r.subscribe("a")
	return r
}

func (r *encoderRig) subscribe(name string) *tidings.Subscription {
	return tidings.Subscribe(r.Bus, onAny[txtest.Event], tidings.Named(name), tidings.Via(r))
}

func (r *encoderRig) Phase() tidings.Phase { return r.phase }

func (r *encoderRig) Handle(string, func(context.Context, tidings.Event) error) error { return nil }

func (r *encoderRig) EncodeEvent(_ context.Context, event tidings.Event, _ bool) (any, error) {
	if event.EventID() == uuid.Nil {
		return nil, errors.New("not stamped")
	}
	e := event.(txtest.Event)
	r.Note("%senc%d", r.label, e.N)
	if r.then != nil {
		return r.then(event)
	}
	return fmt.Sprintf("%se%d", r.label, e.N), nil
}

func (r *encoderRig) Send(_ context.Context, deliveries []tidings.Outgoing) error {
	var words []string
	for _, d := range deliveries {
		words = append(words, fmt.Sprintf("%v@%s", d.Encoded, strings.Join(d.Handlers, "+")))
	}
	r.Note("%ssend(%s)", r.label, strings.Join(words, ","))
	return nil
}

func TestAnEncoderEncodesBeforeAnythingElseHappens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		phase          tidings.Phase
		alone, in, end string // outside a transaction; in one: until the publish returns, and after
	}{
		{tidings.InTransaction, "enc1 I1 send(e1@a) B1 C1", "enc1 I1 send(e1@a) enc2 I2 send(e2@a)", "B1 B2 C1 C2"},
		{tidings.BeforeCommit, "enc1 I1 B1 send(e1@a) C1", "enc1 I1 enc2 I2", "B1 B2 send(e1@a,e2@a) C1 C2"},
		{tidings.AfterCommit, "enc1 I1 B1 send(e1@a) C1", "enc1 I1 enc2 I2", "B1 B2 send(e1@a,e2@a) C1 C2"},
	} {
		t.Run(tt.phase.String(), func(t *testing.T) {
			t.Parallel()
			r := newEncoderRig(tt.phase)
			r.MustPublish(t.Context(), t, 1)
			require.Equal(t, tt.alone, r.Log())
			require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
				r.MustPublish(ctx, t, 1, 2)
				require.Equal(t, tt.in, r.Log())
				return nil
			}))
			require.Equal(t, tt.end, r.Log())
		})
	}
}

func TestAnEncoderWithoutOtherHandlers(t *testing.T) {
	t.Parallel()
	r := &encoderRig{Rig: txtest.NewRig(), phase: tidings.AfterCommit}
	r.subscribe("a")
	r.MustPublish(t.Context(), t, 1)
	require.Equal(t, "enc1 send(e1@a)", r.Log(), "the way without phases before the commit")
	r.then = func(tidings.Event) (any, error) { return nil, errDeclined }
	require.ErrorIs(t, r.Publish(t.Context(), 2), errDeclined)
	require.Equal(t, "enc2", r.Log())
}

func TestAnEventThatCannotBeEncodedIsNotPublished(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.InTransaction, tidings.BeforeCommit, tidings.AfterCommit} {
		for _, tt := range []struct {
			name string
			then func(tidings.Event) (any, error)
		}{
			{"error", func(tidings.Event) (any, error) { return "half", errDeclined }},
			{"panic", func(tidings.Event) (any, error) { panic(errDeclined) }},
		} {
			t.Run(phase.String()+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				r := newEncoderRig(phase)
				plain := &courier{phase: phase}
				tidings.Subscribe(r.Bus, onAny[txtest.Event], tidings.Named("plain"), tidings.Via(plain))
				var handled int
				tidings.Subscribe(r.Bus, func(context.Context, txtest.Event) error {
					handled++
					return nil
				}, tidings.Async())
				r.then = func(e tidings.Event) (any, error) {
					if e.(txtest.Event).N == 1 {
						return tt.then(e)
					}
					return "ok", nil
				}
				check := func(err error) {
					t.Helper()
					require.ErrorIs(t, err, errDeclined)
					require.ErrorContains(t, err, "tidings: txtest.Event is not published: ")
					var failed *tidings.HandlerError
					require.NotErrorAs(t, err, &failed, "no handler has failed")
					var panicked *tidings.PanicError
					require.Equal(t, tt.name == "panic", errors.As(err, &panicked))
					require.Equal(t, "enc1", r.Log())
				}
				check(r.Publish(t.Context(), 1))
				check(tidings.Publish[tidings.Event](t.Context(), r.Bus, txtest.Event{N: 1}))
				require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
					check(r.Publish(ctx, 1)) // and the transaction goes on
					return nil
				}))
				require.Empty(t, r.Log(), "nothing was queued")
				require.EqualError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
					check(r.Publish(ctx, 1))
					return errors.New("rolled back")
				}), "rolled back")
				require.Empty(t, r.Log(), "nor for AfterRollback")
				require.Empty(t, plain.sent())
				require.NoError(t, r.Bus.Close(t.Context()))
				require.Zero(t, handled)
				require.Empty(t, r.Reported())
			})
		}
	}
}

func TestEncodedEventsOfSavepointsThatAreDropped(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.BeforeCommit, tidings.AfterCommit} {
		r := txtest.NewSQLRig(t)
		enc := &encoderRig{Rig: txtest.NewRig(), phase: phase}
		tidings.Subscribe(r.Bus, onAny[txtest.Event], tidings.Named("a"), tidings.Via(enc))
		require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			r.MustPublish(ctx, t, 1)
			require.ErrorIs(t, r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.MustPublish(ctx, t, 2)
				return errDeclined
			}), errDeclined)
			return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.MustPublish(ctx, t, 3)
				return nil
			})
		}))
		require.Equal(t, "enc1 enc2 enc3 send(e1@a,e3@a)", enc.Log(), phase)
	}
}

func TestSeveralTransportsGetWhatEachOfThemEncoded(t *testing.T) {
	t.Parallel()
	for _, phases := range [][2]tidings.Phase{
		{tidings.AfterCommit, tidings.AfterCommit}, {tidings.BeforeCommit, tidings.AfterCommit}, {tidings.AfterCommit, tidings.InTransaction},
	} {
		shared := txtest.NewRig()
		x := &encoderRig{Rig: shared, phase: phases[0], label: "x"}
		y := &encoderRig{Rig: shared, phase: phases[1], label: "y"}
		plain := &courier{phase: phases[0]}
		tidings.Subscribe(shared.Bus, onAny[txtest.Event], tidings.Named("plain"), tidings.Via(plain))
		x.subscribe("a")
		y.subscribe("b")
		x.subscribe("c") // one encoding for two handlers
		require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error { return shared.Publish(ctx, 1) }))
		require.ElementsMatch(t, []string{"xenc1", "yenc1", "xsend(xe1@a+c)", "ysend(ye1@b)"}, strings.Fields(shared.Log()))
		require.Nil(t, plain.batches[0][0].Encoded, "only encoders get something")

		shared.MustPublish(t.Context(), t, 2)
		require.ElementsMatch(t, []string{"xenc2", "yenc2", "xsend(xe2@a+c)", "ysend(ye2@b)"}, strings.Fields(shared.Log()))

		y.then = func(tidings.Event) (any, error) { return nil, errDeclined }
		require.ErrorIs(t, shared.Publish(t.Context(), 3), errDeclined)
		require.Equal(t, "xenc3 yenc3", shared.Log(), "one that refuses is enough")
	}
}

func TestHandlersThatUnsubscribeWhileAnEncodedEventIsQueued(t *testing.T) {
	t.Parallel()
	shared := txtest.NewRig()
	x := &encoderRig{Rig: shared, phase: tidings.AfterCommit, label: "x"}
	y := &encoderRig{Rig: shared, phase: tidings.AfterCommit, label: "y"}
	gone := x.subscribe("gone")
	goneToo := y.subscribe("gone too")
	y.subscribe("stays")
	require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		shared.MustPublish(ctx, t, 1)
		gone.Unsubscribe()
		goneToo.Unsubscribe()
		x.subscribe("new")
		return nil
	}))
	require.Equal(t, "xenc1 yenc1 ysend(ye1@stays)", shared.Log(), "y gets its own form although x is gone")
}

func TestABusWideEncoder(t *testing.T) {
	t.Parallel()
	shared := txtest.NewRig()
	r := &encoderRig{Rig: shared, phase: tidings.AfterCommit}
	shared.Bus = tidings.New(tidings.WithTransport(r))
	shared.MustPublish(t.Context(), t, 1)
	require.Equal(t, "enc1 send(e1@)", shared.Log(), "also where nothing here subscribes")
	r.subscribe("a")
	tidings.Subscribe(shared.Bus, onAny[txtest.Event], tidings.Named("b"))
	shared.MustPublish(t.Context(), t, 2)
	require.Equal(t, "enc2 send(e2@a+b)", shared.Log())
}

// cloningEncoder spoils what it is given, as a careless one might.
type cloningEncoder struct{ courier }

func (c *cloningEncoder) EncodeEvent(_ context.Context, event tidings.Event, _ bool) (any, error) {
	stock := event.(orderPlaced).Stock
	apples := stock["apples"]
	stock["apples"] = 99
	return apples, nil
}

func TestAnEncoderGetsACopy(t *testing.T) {
	t.Parallel()
	bus, c := tidings.New(), &cloningEncoder{}
	tidings.Subscribe(bus, onAny[orderPlaced], tidings.Named("a"), tidings.Via(c))
	event := placed(nil)
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
		if err := tidings.Publish(ctx, bus, event); err != nil {
			return err
		}
		event.Stock["apples"] = 5 // the publisher goes on with its own
		return nil
	}))
	for _, batch := range c.batches {
		require.Equal(t, 1, batch[0].Encoded)
		require.Equal(t, 1, batch[0].Event.(orderPlaced).Stock["apples"])
	}
	require.Len(t, c.batches, 2)

	err := tidings.Publish(t.Context(), bus, placed(&cloneWatch{panics: func(n int32) bool { return n == 1 }}))
	require.ErrorContains(t, err, "cannot clone")
	require.Len(t, c.batches, 2)
}

// isNewEncoder notes what it is told of each event.
type isNewEncoder struct {
	phase tidings.Phase
	isNew []bool
}

func (e *isNewEncoder) Phase() tidings.Phase                                            { return e.phase }
func (e *isNewEncoder) Send(context.Context, []tidings.Outgoing) error                  { return nil }
func (e *isNewEncoder) Handle(string, func(context.Context, tidings.Event) error) error { return nil }
func (e *isNewEncoder) EncodeEvent(_ context.Context, _ tidings.Event, isNew bool) (any, error) {
	e.isNew = append(e.isNew, isNew)
	return nil, nil
}

func TestEncoderIsToldWhichEventsAreNew(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.BeforeCommit, tidings.AfterCommit} {
		enc := &isNewEncoder{phase: phase}
		bus := tidings.New(tidings.WithTransport(enc))
		stamped := tidings.Stamp(t.Context(), clientCreated{})
		publish := func(ctx context.Context) error {
			return errors.Join(tidings.Publish(ctx, bus, clientCreated{}), tidings.Publish(ctx, bus, stamped),
				tidings.Publish[tidings.Event](ctx, bus, proposalAccepted{}), tidings.Publish[tidings.Event](ctx, bus, tidings.Stamp(ctx, proposalAccepted{})))
		}
		require.NoError(t, publish(t.Context()))
		require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, publish))
		require.Equal(t, []bool{true, false, true, false, true, false, true, false}, enc.isNew)
	}
}

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

// An event is sent once, for all handlers with the same Sender.
func TestBroadcasterSendsOnce(t *testing.T) {
	t.Parallel()
	one, other := &radio{}, &radio{}
	plain := &courier{}
	bus := tidings.New()
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(one))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("b"), tidings.Via(&channel{one}))
	tidings.Subscribe(bus, onAny[tidings.Event], tidings.Named("c"), tidings.Via(&channel{one}))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("d"), tidings.Via(other))
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("e"), tidings.Via(plain))
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
		a := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"))
		tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("b"), tidings.Via(&channel{r}))
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
	a := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(r))
	b := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("b"), tidings.Via(&channel{r}))
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
		tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(r))
	}()
	tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("a"), tidings.Via(r))
}

// A binder is a courier that wants to know the subscription.
type binder struct {
	courier
	bound []*tidings.Subscription
}

func (b *binder) Bind(sub *tidings.Subscription, deliver func(context.Context, tidings.Event) error) error {
	for _, other := range b.bound {
		if other.Active() && other.Info().Handler == sub.Info().Handler {
			return fmt.Errorf("%s has that name, at %s:%d", other.Info().EventType, other.Info().File, other.Info().Line)
		}
	}
	b.bound = append(b.bound, sub)
	return b.Handle(sub.Info().Handler, deliver)
}

func TestABinderKnowsTheSubscription(t *testing.T) {
	t.Parallel()
	b := &binder{}
	one, two := tidings.New(), tidings.New()
	var calls int
	sub := tidings.Subscribe(one, func(context.Context, clientCreated) error { calls++; return nil }, tidings.Via(b), tidings.Named("a"))
	require.Equal(t, []*tidings.Subscription{sub}, b.bound)
	require.NoError(t, b.handlers["a"](t.Context(), tidings.Stamp(t.Context(), clientCreated{})))
	require.Equal(t, 1, calls)

	subscribe := func() { tidings.Subscribe(two, onAny[projectCreated], tidings.Via(b), tidings.Named("a")) }
	require.PanicsWithValue(t, fmt.Sprintf(`tidings: Subscribe: *tidings_test.binder does not take the handler "a": tidings_test.clientCreated has that name, at %s:%d`,
		sub.Info().File, sub.Info().Line), subscribe)
	require.Empty(t, two.Subscriptions())
	sub.Unsubscribe()
	require.NotPanics(t, subscribe)
	require.Len(t, b.bound, 2)
	require.Equal(t, "tidings_test.projectCreated", b.bound[1].Info().EventType.String())
}
