package relay_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// An item is what several events are.
type item interface {
	tidings.Event
	item()
}

func (ordered) item() {}

func TestForwardNames(t *testing.T) {
	t.Parallel()
	g := newRig(t, relay.WithPrefix("p."))
	require.Equal(t, "relay.forward.p."+orderedName, relay.Forward[ordered](g.bus, g.Relay).Info().Handler)
	require.Equal(t, "items", relay.Forward[item](newRig(t).bus, g.Relay, tidings.Named("items")).Info().Handler)
}

func TestForwardPanics(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for _, tt := range []struct {
		want string
		call func()
	}{
		{"relay: Forward with a nil *Relay", func() { relay.Forward[ordered](g.bus, nil) }},
		{"tidings: Subscribe with a nil *EventBus", func() { relay.Forward[ordered](nil, g.Relay) }},
		{"is not registered", func() { relay.Forward[unregistered](g.bus, g.Relay) }},
		{"relay: Forward through the relay that it sends to", func() { relay.Forward[ordered](g.bus, g.Relay, tidings.Via(g.Relay)) }},
		{"relay: Forward through the relay that it sends to", func() {
			relay.Forward[ordered](tidings.New(tidings.WithTransport(g.Relay)), g.Relay)
		}},
		{"relay: Receive with a nil *Relay", func() { relay.Receive[ordered](g.bus, nil, "x") }},
		{"relay: Receive with a nil *EventBus", func() { relay.Receive[ordered](nil, g.Relay, "x") }},
		{"relay: Receive without a group", func() { relay.Receive[ordered](g.bus, g.Relay, "") }},
		{"tidings: Subscribe with a nil SubscribeOption", func() { relay.Receive[ordered](g.bus, g.Relay, "x", nil) }},
	} {
		requirePanic(t, tt.want, tt.call)
	}
	require.Empty(t, g.bus.Subscriptions())
	relay.Forward[ordered](g.bus, g.Relay)
	requirePanic(t, `a handler named "relay.forward.shop.ordered" exists already`, func() { relay.Forward[ordered](g.bus, g.Relay) })
}

func requirePanic(t *testing.T, want string, call func()) {
	t.Helper()
	defer func() {
		t.Helper()
		text, _ := recover().(string)
		require.Contains(t, text, want)
	}()
	call()
}

// Events that are both sent and received would go round in circles.
func TestCycles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		forward func(*rig) *tidings.Subscription
		receive func(*rig) *tidings.Subscription
		cycle   bool
	}{
		{"same", forwardOf[ordered], receiveOf[ordered], true},
		{"other", forwardOf[ordered], receiveOf[shipped], false},
		{"interface and type", forwardOf[item], receiveOf[ordered], true},
		{"interface and other type", forwardOf[item], receiveOf[shipped], false},
		{"type and interface", forwardOf[ordered], receiveOf[item], true},
		{"interfaces", forwardOf[tidings.Event], receiveOf[item], true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			forward := tt.forward(g)
			if !tt.cycle {
				tt.receive(g)
				return
			}
			requirePanic(t, `relay: Receive: "shop.ordered" is sent by Forward, and would circulate forever`, func() { tt.receive(g) })
			forward.Unsubscribe()
			tt.receive(g) // what is not sent any more

			g = newRig(t)
			receive := tt.receive(g)
			requirePanic(t, `relay: Forward: "shop.ordered" is published by Receive, and would circulate forever`, func() { tt.forward(g) })
			require.Empty(t, g.bus.Subscriptions())
			receive.Unsubscribe()
			tt.forward(g) // what is not received any more
		})
	}
}

func forwardOf[E tidings.Event](g *rig) *tidings.Subscription {
	if reflectType[E]().Name() == "Event" || reflectType[E]().Name() == "item" {
		return relay.Forward[E](g.bus, g.Relay, tidings.Named("forward"))
	}
	return relay.Forward[E](g.bus, g.Relay)
}

func receiveOf[E tidings.Event](g *rig) *tidings.Subscription {
	return relay.Receive[E](g.bus, g.Relay, "receive")
}

func TestReceivePanics(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	requirePanic(t, "relay_test.unregistered is not registered", func() { relay.Receive[unregistered](g.bus, g.Relay, "r") })
	relay.Forward[shipped](g.bus, g.Relay)
	g.handle("taken", func(context.Context, ordered) error { return nil })
	requirePanic(t, `"taken" already`, func() { relay.Receive[ordered](g.bus, g.Relay, "taken") })
	relay.Forward[ordered](g.bus, g.Relay).Unsubscribe() // not received, so it may be sent
	relay.Receive[ordered](g.bus, g.Relay, "free")
	requirePanic(t, `"free" exists already, subscribed at `, func() { relay.Receive[ordered](g.bus, g.Relay, "free") })
	requirePanic(t, `"free" already`, func() { g.handle("free", func(context.Context, ordered) error { return nil }) })
}

// As long as Forward is subscribed, it sends; then the handlers' transport does.
func TestForwardIsUnsubscribed(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.handle("h", func(context.Context, ordered) error { return nil })
	g.publish(1)
	require.Equal(t, 1, g.broker.count(orderedName))
	forward := relay.Forward[item](g.bus, g.Relay, tidings.Named("items"))
	g.publish(2)
	require.Equal(t, 2, g.broker.count(orderedName))
	forward.Unsubscribe()
	g.publish(3)
	require.Equal(t, 3, g.broker.count(orderedName))
}

// What Forward sends before Start is kept for the handlers of this process.
func TestForwardBeforeStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		calls := &times{g: g}
		g.handle("h", func(context.Context, ordered) error { calls.add(); return nil })
		relay.Forward[ordered](g.bus, g.Relay)
		g.publish(1)
		g.start()
		synctest.Wait()
		require.Len(t, calls.all(), 1)
	})
}

func TestForwardFails(t *testing.T) {
	t.Parallel()
	g := newRig(t, relay.WithMaxSize(500))
	relay.Forward[wordy](g.bus, g.Relay)
	err := tidings.Publish(t.Context(), g.bus, wordy{Text: strings.Repeat("x", 500)})
	require.ErrorContains(t, err, "the limit is 500")
	permanent := interface{ Permanent() bool }(nil)
	require.ErrorAs(t, err, &permanent, "a durable handler need not try again")
	require.True(t, permanent.Permanent())

	g.broker.set(func() { g.broker.onPublish = refusing("wordy") })
	err = tidings.Publish(t.Context(), g.bus, wordy{})
	require.ErrorIs(t, err, errRefused)
	require.NotErrorAs(t, err, &permanent)
}

// What Receive publishes on a bus that sends everything is not sent again; what
// its handlers publish is.
func TestReceiveWithTransport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		bus := tidings.New(tidings.WithTransport(g.Relay))
		calls := &times{g: g}
		relay.Receive[ordered](bus, g.Relay, "receive")
		tidings.Subscribe(bus, func(ctx context.Context, e ordered) error {
			calls.add()
			return tidings.Publish(ctx, bus, shipped{Number: e.Number})
		}, tidings.AfterCommit)
		g.start()
		require.NoError(t, tidings.Publish(t.Context(), bus, ordered{Number: 1}))
		pass(time.Minute)
		require.Len(t, calls.all(), 2, "once when it was published here, once when it came back")
		require.Equal(t, 1, g.broker.count(orderedName))
		require.Equal(t, 2, g.broker.count(shippedName))
	})
}

// If one handler behind Receive fails, all are called again.
func TestReceiveFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, sender := newRig(t), (*rig)(nil)
		sender = newRigOn(t, g.broker)
		sender.handle("elsewhere", func(context.Context, ordered) error { return nil })
		good, bad := &times{g: g}, &times{g: g}
		relay.Receive[ordered](g.bus, g.Relay, "receive", tidings.Attempts(2), tidings.Timeout(time.Minute))
		tidings.Subscribe(g.bus, func(context.Context, ordered) error { good.add(); return nil })
		tidings.Subscribe(g.bus, func(context.Context, ordered) error { bad.add(); return errHandler })
		g.start()
		sender.publish(1)
		pass(time.Hour)
		require.Equal(t, seconds(0, 1), good.all())
		require.Equal(t, seconds(0, 1), bad.all())
		letters := g.letters("receive")
		require.Len(t, letters, 1)
		require.Contains(t, letters[0].Reason, errHandler.Error())
	})
}
