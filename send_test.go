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
	"github.com/tidings-go/tidings/internal/txtest"
)

// An encoderRig is a bus with a transport that encodes txtest.Events: 7 becomes
// "e7", and what arrives in Send is noted as "send(e7@a)".
type encoderRig struct {
	*txtest.Rig
	phase tidings.Phase
	label string
	then  func(tidings.Event) (any, error) // what Encode returns
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

func (r *encoderRig) Handle(tidings.Handler) (func(), error) { return nil, nil }

func (r *encoderRig) Encode(_ context.Context, out tidings.Outgoing) (any, error) {
	if out.Event.EventID() == uuid.Nil {
		return nil, errors.New("not stamped")
	}
	e := out.Event.(txtest.Event)
	r.Note("%senc%d", r.label, e.N)
	if r.then != nil {
		return r.then(out.Event)
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

func TestEncodeComesBeforeAnythingElse(t *testing.T) {
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

func TestEncodeWithoutOtherHandlers(t *testing.T) {
	t.Parallel()
	r := &encoderRig{Rig: txtest.NewRig(), phase: tidings.AfterCommit}
	r.subscribe("a")
	r.MustPublish(t.Context(), t, 1)
	require.Equal(t, "enc1 send(e1@a)", r.Log(), "the way without phases before the commit")
	r.then = func(tidings.Event) (any, error) { return nil, tidings.ErrQueueFull }
	err := r.Publish(t.Context(), 2)
	require.ErrorIs(t, err, tidings.ErrQueueFull)
	require.EqualError(t, err, "tidings: txtest.Event is not published: queue full")
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
		require.Nil(t, plain.batches[0][0].Encoded, "what Encode has returned")

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

func TestEncodeOfABusWideTransport(t *testing.T) {
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

func TestEncodeGetsACopy(t *testing.T) {
	t.Parallel()
	// A careless transport changes what it is given.
	bus, c := tidings.New(), &courier{encode: func(out tidings.Outgoing) (any, error) {
		stock := out.Event.(orderPlaced).Stock
		apples := stock["apples"]
		stock["apples"] = 99
		return apples, nil
	}}
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

// Encode is told of the handlers and the bus, so that it can prepare what each of them
// needs. Those that have unsubscribed when the transaction ends are not in Send.
func TestEncodeKnowsTheHandlers(t *testing.T) {
	t.Parallel()
	for _, phase := range []tidings.Phase{tidings.InTransaction, tidings.BeforeCommit, tidings.AfterCommit} {
		var encoded []string
		bus := tidings.New()
		c := &courier{phase: phase, encode: func(out tidings.Outgoing) (any, error) {
			require.Same(t, bus, out.Bus)
			require.Nil(t, out.Encoded)
			encoded = append(encoded, strings.Join(out.Handlers, ","))
			return nil, nil
		}}
		tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("a"))
		b := tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("b"))
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
		require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
			defer b.Unsubscribe()
			return tidings.Publish(ctx, bus, clientCreated{})
		}))
		require.Equal(t, []string{"a,b", "a,b"}, encoded)
		last := "clientCreated>a"
		if phase == tidings.InTransaction {
			last = "clientCreated>a,b"
		}
		require.Equal(t, []string{"clientCreated>a,b", last}, c.sent())
	}
}
