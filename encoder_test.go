package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// An encoderRig is a bus with a transport that encodes txEvents: 7 becomes
// "e7", and what arrives in Send is noted as "send(e7@a)".
type encoderRig struct {
	*txRig
	phase tidings.Phase
	label string
	then  func(tidings.Event) (any, error) // what EncodeEvent returns
}

func newEncoderRig(phase tidings.Phase) *encoderRig {
	r := &encoderRig{txRig: newTxRig().phases(), phase: phase}
	r.subscribe("a")
	return r
}

func (r *encoderRig) subscribe(name string) *tidings.Subscription {
	return tidings.Subscribe(r.bus, onAny[txEvent], tidings.Named(name), tidings.Via(r))
}

func (r *encoderRig) Phase() tidings.Phase { return r.phase }

func (r *encoderRig) Handle(string, func(context.Context, tidings.Event) error) error { return nil }

func (r *encoderRig) EncodeEvent(_ context.Context, event tidings.Event, _ bool) (any, error) {
	if event.EventID() == uuid.Nil {
		return nil, errors.New("not stamped")
	}
	e := event.(txEvent)
	r.note("%senc%d", r.label, e.N)
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
	r.note("%ssend(%s)", r.label, strings.Join(words, ","))
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
			r.mustPublish(t.Context(), t, 1)
			require.Equal(t, tt.alone, r.log())
			require.NoError(t, tidings.Transact(t.Context(), sandbox, func(ctx context.Context) error {
				r.mustPublish(ctx, t, 1, 2)
				require.Equal(t, tt.in, r.log())
				return nil
			}))
			require.Equal(t, tt.end, r.log())
		})
	}
}

// sandbox is a transaction of no database.
func sandbox(ctx context.Context, body func(context.Context) error) error { return body(ctx) }

func TestAnEncoderWithoutOtherHandlers(t *testing.T) {
	t.Parallel()
	r := &encoderRig{txRig: newTxRig(), phase: tidings.AfterCommit}
	r.subscribe("a")
	r.mustPublish(t.Context(), t, 1)
	require.Equal(t, "enc1 send(e1@a)", r.log(), "the way without phases before the commit")
	r.then = func(tidings.Event) (any, error) { return nil, errDeclined }
	require.ErrorIs(t, r.publish(t.Context(), 2), errDeclined)
	require.Equal(t, "enc2", r.log())
}

func TestAnEventThatCannotBeEncodedIsNotPublished(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.InTransaction, tidings.BeforeCommit, tidings.AfterCommit} {
		for name, then := range map[string]func(tidings.Event) (any, error){
			"error": func(tidings.Event) (any, error) { return "half", errDeclined },
			"panic": func(tidings.Event) (any, error) { panic(errDeclined) },
		} {
			t.Run(phase.String()+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newEncoderRig(phase)
				plain := &courier{phase: phase}
				tidings.Subscribe(r.bus, onAny[txEvent], tidings.Named("plain"), tidings.Via(plain))
				var handled int
				tidings.Subscribe(r.bus, func(context.Context, txEvent) error {
					handled++
					return nil
				}, tidings.Async())
				r.then = func(e tidings.Event) (any, error) {
					if e.(txEvent).N == 1 {
						return then(e)
					}
					return "ok", nil
				}
				check := func(err error) {
					t.Helper()
					require.ErrorIs(t, err, errDeclined)
					require.ErrorContains(t, err, "tidings: tidings_test.txEvent is not published: ")
					var failed *tidings.HandlerError
					require.NotErrorAs(t, err, &failed, "no handler has failed")
					var panicked *tidings.PanicError
					require.Equal(t, name == "panic", errors.As(err, &panicked))
					require.Equal(t, "enc1", r.log())
				}
				check(r.publish(t.Context(), 1))
				check(tidings.Publish[tidings.Event](t.Context(), r.bus, txEvent{N: 1}))
				require.NoError(t, tidings.Transact(t.Context(), sandbox, func(ctx context.Context) error {
					check(r.publish(ctx, 1)) // and the transaction goes on
					return nil
				}))
				require.Empty(t, r.log(), "nothing was queued")
				require.EqualError(t, tidings.Transact(t.Context(), sandbox, func(ctx context.Context) error {
					check(r.publish(ctx, 1))
					return errors.New("rolled back")
				}), "rolled back")
				require.Empty(t, r.log(), "nor for AfterRollback")
				require.Empty(t, plain.sent())
				require.NoError(t, r.bus.Close(t.Context()))
				require.Zero(t, handled)
				require.Empty(t, r.reported())
			})
		}
	}
}

func TestEncodedEventsOfSavepointsThatAreDropped(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.BeforeCommit, tidings.AfterCommit} {
		r := newSQLRig(t)
		enc := &encoderRig{txRig: newTxRig(), phase: phase}
		tidings.Subscribe(r.bus, onAny[txEvent], tidings.Named("a"), tidings.Via(enc))
		require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			r.mustPublish(ctx, t, 1)
			require.ErrorIs(t, r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.mustPublish(ctx, t, 2)
				return errDeclined
			}), errDeclined)
			return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.mustPublish(ctx, t, 3)
				return nil
			})
		}))
		require.Equal(t, "enc1 enc2 enc3 send(e1@a,e3@a)", enc.log(), phase)
	}
}

func TestSeveralTransportsGetWhatEachOfThemEncoded(t *testing.T) {
	t.Parallel()
	for _, phases := range [][2]tidings.Phase{
		{tidings.AfterCommit, tidings.AfterCommit}, {tidings.BeforeCommit, tidings.AfterCommit}, {tidings.AfterCommit, tidings.InTransaction},
	} {
		shared := newTxRig()
		x := &encoderRig{txRig: shared, phase: phases[0], label: "x"}
		y := &encoderRig{txRig: shared, phase: phases[1], label: "y"}
		plain := &courier{phase: phases[0]}
		tidings.Subscribe(shared.bus, onAny[txEvent], tidings.Named("plain"), tidings.Via(plain))
		x.subscribe("a")
		y.subscribe("b")
		x.subscribe("c") // one encoding for two handlers
		require.NoError(t, tidings.Transact(t.Context(), sandbox, func(ctx context.Context) error { return shared.publish(ctx, 1) }))
		require.ElementsMatch(t, []string{"xenc1", "yenc1", "xsend(xe1@a+c)", "ysend(ye1@b)"}, strings.Fields(shared.log()))
		require.Nil(t, plain.batches[0][0].Encoded, "only encoders get something")

		shared.mustPublish(t.Context(), t, 2)
		require.ElementsMatch(t, []string{"xenc2", "yenc2", "xsend(xe2@a+c)", "ysend(ye2@b)"}, strings.Fields(shared.log()))

		y.then = func(tidings.Event) (any, error) { return nil, errDeclined }
		require.ErrorIs(t, shared.publish(t.Context(), 3), errDeclined)
		require.Equal(t, "xenc3 yenc3", shared.log(), "one that refuses is enough")
	}
}

func TestHandlersThatUnsubscribeWhileAnEncodedEventIsQueued(t *testing.T) {
	t.Parallel()
	shared := newTxRig()
	x := &encoderRig{txRig: shared, phase: tidings.AfterCommit, label: "x"}
	y := &encoderRig{txRig: shared, phase: tidings.AfterCommit, label: "y"}
	gone := x.subscribe("gone")
	goneToo := y.subscribe("gone too")
	y.subscribe("stays")
	require.NoError(t, tidings.Transact(t.Context(), sandbox, func(ctx context.Context) error {
		shared.mustPublish(ctx, t, 1)
		gone.Unsubscribe()
		goneToo.Unsubscribe()
		x.subscribe("new")
		return nil
	}))
	require.Equal(t, "xenc1 yenc1 ysend(ye1@stays)", shared.log(), "y gets its own form although x is gone")
}

func TestABusWideEncoder(t *testing.T) {
	t.Parallel()
	shared := newTxRig()
	r := &encoderRig{txRig: shared, phase: tidings.AfterCommit}
	shared.bus = tidings.New(tidings.WithTransport(r))
	shared.mustPublish(t.Context(), t, 1)
	require.Equal(t, "enc1 send(e1@)", shared.log(), "also where nothing here subscribes")
	r.subscribe("a")
	tidings.Subscribe(shared.bus, onAny[txEvent], tidings.Named("b"))
	shared.mustPublish(t.Context(), t, 2)
	require.Equal(t, "enc2 send(e2@a+b)", shared.log())
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
	require.NoError(t, tidings.Transact(t.Context(), sandbox, func(ctx context.Context) error {
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
		require.NoError(t, tidings.Transact(t.Context(), runBody, publish))
		require.Equal(t, []bool{true, false, true, false, true, false, true, false}, enc.isNew)
	}
}
