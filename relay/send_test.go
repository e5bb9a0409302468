package relay_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

func inTx(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, tidings.Transactor{DB: "none", Run: func(ctx context.Context, body func(context.Context) error) error { return body(ctx) }}, fn)
}

// What the broker does not accept is reported, for each handler of each event,
// and what it has accepted is not. Nothing overtakes the one that it refuses.
func TestSendHalfWay(t *testing.T) {
	t.Parallel()
	for refused := 1; refused <= 5; refused++ {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			var published, got atomic.Int32
			g.broker.set(func() {
				g.broker.onPublish = func(string, *relay.Message) error {
					if int(published.Add(1)) == refused {
						return errRefused
					}
					return nil
				}
			})
			g.handle("a", func(context.Context, ordered) error { got.Add(1); return nil })
			g.handle("b", func(context.Context, ordered) error { return nil })
			g.start()
			require.NoError(t, inTx(t.Context(), func(ctx context.Context) error {
				for n := 1; n <= 5; n++ {
					if err := tidings.Publish(ctx, g.bus, ordered{Number: n}); err != nil {
						return err
					}
				}
				return nil
			}))
			synctest.Wait()
			require.EqualValues(t, refused-1, got.Load())
			errs := g.errs()
			require.Len(t, errs, 2*(5-refused+1))
			for i, err := range errs {
				he := (*tidings.HandlerError)(nil)
				require.ErrorAs(t, err, &he)
				require.ErrorIs(t, err, errRefused)
				require.Equal(t, refused+i/2, he.Event.(ordered).Number)
				require.Equal(t, []string{"a", "b"}[i%2], he.Handler)
			}
		})
	}
}

// What others have to send is not reported as refused.
func TestSendHalfWayBesideForward(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	var sent atomic.Int32
	relay.Forward[shipped](g.bus, g.Relay)
	g.broker.set(func() {
		g.broker.onPublish = func(topic string, _ *relay.Message) error {
			if topic == orderedName {
				return errRefused
			}
			sent.Add(1)
			return nil
		}
	})
	g.handle("a", func(context.Context, ordered) error { return nil })
	tidings.Subscribe(g.bus, func(context.Context, shipped) error { return nil }, tidings.Named("b"), tidings.Via(g.Relay))
	require.NoError(t, inTx(t.Context(), func(ctx context.Context) error {
		return errors.Join(tidings.Publish(ctx, g.bus, ordered{Number: 1}), tidings.Publish(ctx, g.bus, shipped{Number: 2}))
	}))
	require.EqualValues(t, 1, sent.Load())
	require.Len(t, g.errs(), 1)
	he := (*tidings.HandlerError)(nil)
	require.ErrorAs(t, g.errs()[0], &he)
	require.Equal(t, "a", he.Handler)
}

// The default transport reports events that have no handler here as its own.
func TestSendWithoutHandlers(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.broker.set(func() { g.broker.onPublish = refusing(orderedName) })
	var reported []error
	bus := tidings.New(tidings.WithTransport(g.Relay), tidings.WithErrorHandler(func(_ context.Context, err error) { reported = append(reported, err) }))
	err := tidings.Publish(t.Context(), bus, ordered{Number: 7})
	require.NoError(t, tidings.Publish(t.Context(), bus, shipped{Number: 8}))
	he := (*tidings.HandlerError)(nil)
	require.ErrorAs(t, err, &he)
	require.Empty(t, reported, "outside a transaction Publish returns it")
	require.Equal(t, "relay", he.Handler)
	require.Equal(t, 7, he.Event.(ordered).Number)
	require.Equal(t, 1, g.broker.count(shippedName))
}

// The broker has to keep events for the handlers before one is sent.
func TestSendDeclares(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.broker.set(func() {
		g.broker.onInitialize = func(group, _ string) error { return refusing("h")(group, nil) }
	})
	h := g.handle("h", func(context.Context, ordered) error { return nil })
	require.ErrorIs(t, tidings.Publish(t.Context(), g.bus, ordered{Number: 1}), errRefused)
	require.Zero(t, g.broker.count(orderedName), "nobody would have kept it")
	g.broker.set(func() { g.broker.onInitialize = nil })
	g.publish(2)
	g.publish(3)
	require.Equal(t, 2, g.broker.count(orderedName))
	asked := len(g.broker.asked())
	require.Equal(t, 2, asked, "once for the events and once for the retries")

	h.Unsubscribe()
	g.publish(4)
	require.Equal(t, 2, g.broker.count(orderedName), "nobody takes it")
}

// Handlers that nobody waits for any more do not fail a Send.
func TestSendWhileUnsubscribing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.broker.set(func() {
			g.broker.onInitialize = func(group, _ string) error { return refusing("h.retry")(group, nil) }
		})
		hold := make(chan struct{})
		g.broker.set(func() {
			g.broker.onClose = func(group string) error {
				if group == "h" {
					<-hold
				}
				return nil
			}
		})
		sub := g.handle("h", func(context.Context, ordered) error { return nil })
		e := tidings.Stamp(t.Context(), ordered{})
		encoded, err := g.Encode(t.Context(), tidings.Outgoing{Event: e})
		require.NoError(t, err)
		events := []tidings.Outgoing{{Event: e, Handlers: []string{"h"}, Encoded: encoded}}
		require.ErrorIs(t, g.Send(t.Context(), events), errRefused)
		sub.Unsubscribe()
		synctest.Wait() // the subscriber is being closed
		require.NoError(t, g.Send(t.Context(), events))
		close(hold)
	})
}

func TestSendWhatOthersHaveEncoded(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	err := g.Send(t.Context(), []tidings.Outgoing{{Event: ordered{}, Encoded: "text"}})
	require.ErrorContains(t, err, "Send got a string where Encode returns a *relay.encoded")
}

// An event that cannot be sent fails its publish.
func TestPublishFails(t *testing.T) {
	t.Parallel()
	g := newRig(t, relay.WithMaxSize(400))
	tidings.Subscribe(g.bus, func(context.Context, wordy) error { return nil }, tidings.Named("h"), tidings.Via(g.Relay))
	tidings.Subscribe(g.bus, func(context.Context, tidings.Event) error { return nil }, tidings.Named("all"), tidings.Via(g.Relay))
	err := tidings.Publish(t.Context(), g.bus, unregistered{})
	require.ErrorIs(t, err, tidings.ErrUnregistered)
	require.NoError(t, tidings.Publish(t.Context(), g.bus, wordy{Text: strings.Repeat("x", 30)}))
	require.ErrorContains(t, tidings.Publish(t.Context(), g.bus, wordy{Text: strings.Repeat("x", 400)}), "and the limit is 400: send a reference")
	require.Equal(t, 1, g.broker.count("shop.wordy"))
}
