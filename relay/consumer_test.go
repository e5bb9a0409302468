package relay_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// A subscription that the broker ends is made anew, until the broker has it.
func TestResubscribe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		calls := &times{g: g}
		g.handle("steady", func(context.Context, ordered) error { calls.add(); return nil })
		g.start()
		g.publish(1)
		synctest.Wait()
		g.broker.set(func() { g.broker.onSubscribe = func(string, string) error { return errRefused } })
		g.broker.cut("steady")
		synctest.Wait()
		g.publish(2, 3)
		pass(3500 * time.Millisecond)
		require.Equal(t, seconds(0), calls.all())
		require.Equal(t, 1+3, g.broker.subscriptions()["steady "+orderedName], "a second after the other")
		require.Equal(t, 3, g.logs.count("relay: subscribing failed"))
		g.broker.set(func() { g.broker.onSubscribe = nil })
		pass(time.Minute)
		require.Equal(t, seconds(0, 4, 4), calls.all())
		require.Equal(t, 1+4, g.broker.subscriptions()["steady "+orderedName])
	})
}

func TestResubscribeToRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		calls := &times{g: g}
		g.handle("failing", func(context.Context, ordered) error { calls.add(); return retryAfter(5 * time.Second) }, tidings.Attempts(2))
		g.start()
		g.broker.cut("failing.retry")
		synctest.Wait() // what a subscription has when it is cut off comes twice
		g.publish(1)
		pass(time.Minute)
		require.Equal(t, seconds(0, 5), calls.all())
	})
}

// Close ends what waits to subscribe anew.
func TestCloseWithoutASubscription(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.handle("steady", func(context.Context, ordered) error { return nil }, relay.Workers(3))
		g.start()
		g.broker.cut("steady")
		g.broker.cut("steady.retry")
		synctest.Wait()
		require.NoError(t, g.Close(t.Context()))
		require.Zero(t, g.since())
	})
}

// Start that fails says for which handler, and goes on when it is called again.
func TestStartFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(*broker)
	}{
		{"subscriber", func(b *broker) {
			b.onSubscriber = func(g relay.Group) error { return refusing("bad")(g.Name, nil) }
		}},
		{"subscriber of retries", func(b *broker) {
			b.onSubscriber = func(g relay.Group) error { return refusing("bad.retry")(g.Name, nil) }
		}},
		{"initialize", func(b *broker) {
			b.onInitialize = func(group, _ string) error { return refusing("bad")(group, nil) }
		}},
		{"initialize retries", func(b *broker) {
			b.onInitialize = func(group, _ string) error { return refusing("bad.retry")(group, nil) }
		}},
		{"subscribe", func(b *broker) {
			b.onSubscribe = func(group, _ string) error { return refusing("bad")(group, nil) }
		}},
		{"subscribe to retries", func(b *broker) {
			b.onSubscribe = func(group, _ string) error { return refusing("bad.retry")(group, nil) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				good, bad := &times{g: g}, &times{g: g}
				g.handle("good", func(context.Context, ordered) error { good.add(); return nil }, relay.Workers(2))
				g.handle("bad", func(context.Context, ordered) error { bad.add(); return nil }, relay.Workers(2))
				g.broker.set(func() { tt.spoil(g.broker) })
				err := g.Start(t.Context())
				require.ErrorIs(t, err, errRefused)
				require.ErrorContains(t, err, `"bad`)
				g.broker.set(func() { g.broker.onSubscriber, g.broker.onInitialize, g.broker.onSubscribe = nil, nil, nil })
				g.start()
				g.start()
				g.publish(1, 2, 3)
				synctest.Wait()
				require.Len(t, good.all(), 3)
				require.Len(t, bad.all(), 3)
			})
		})
	}
}

// Start does nothing where it has been called, also while handlers run.
func TestStartWhileHandlersRun(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	var done sync.WaitGroup
	done.Add(200)
	g.handle("busy", func(context.Context, ordered) error { done.Done(); return nil }, relay.Workers(4))
	g.start()
	for n := range 200 {
		g.publish(n)
		g.start()
	}
	done.Wait()
	require.Equal(t, map[string]int{"busy " + orderedName: 4, "busy.retry busy.retry": 1}, g.broker.subscriptions())
}

// A handler that is subscribed after Start waits for a broker that refuses.
func TestSubscribeWhileTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.start()
		g.broker.set(func() { g.broker.onSubscriber = func(relay.Group) error { return errRefused } })
		calls := &times{g: g}
		g.handle("late", func(context.Context, ordered) error { calls.add(); return nil })
		pass(2500 * time.Millisecond)
		g.broker.set(func() { g.broker.onSubscriber = nil })
		g.publish(1)
		pass(time.Minute)
		require.Equal(t, seconds(3), calls.all())
		require.Equal(t, 3, g.logs.count("relay: a handler cannot start"))
	})
}

func TestUnsubscribeWhileTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		g.start()
		g.broker.set(func() { g.broker.onSubscriber = func(relay.Group) error { return errRefused } })
		sub := g.handle("late", func(context.Context, ordered) error { return nil })
		sub.Unsubscribe()
		synctest.Wait()
		g.broker.set(func() { g.broker.onSubscriber = nil })
		pass(time.Minute)
		require.Zero(t, g.broker.subscriptions()["late "+orderedName])
		g.handle("late", func(context.Context, ordered) error { return nil })
	})
}

// A handler ends its subscription: what it has counts, the rest is kept for
// another one of the name, here also.
func TestUnsubscribeInTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		var numbers []int
		var sub *tidings.Subscription
		sub = g.handle("fickle", func(_ context.Context, e ordered) error {
			numbers = append(numbers, e.Number)
			sub.Unsubscribe()
			return nil
		})
		g.publish(1, 2, 3)
		g.start()
		pass(time.Minute)
		require.Equal(t, []int{1}, numbers)
		g.handle("fickle", func(_ context.Context, e ordered) error { numbers = append(numbers, e.Number); return nil })
		synctest.Wait()
		require.Equal(t, []int{1, 2, 3}, numbers)
	})
}

// A handler for an interface fetches from the topics of all registered events.
func TestTopicsOfAHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, relay.WithPrefix("p."))
		all := func(g *rig, name string) {
			tidings.Subscribe(g.bus, func(context.Context, tidings.Event) error { return nil }, tidings.Named(name), tidings.Via(g.Relay))
		}
		all(g, "all")
		all(g, "all2")
		g.handle("some", func(context.Context, ordered) error { return nil }, relay.Workers(2))
		g.start()
		require.Equal(t, map[string]int{
			"p.all p." + orderedName: 1, "p.all p." + shippedName: 1, "p.all p.shop.wordy": 1, "p.all.retry p.all.retry": 1,
			"p.all2 p." + orderedName: 1, "p.all2 p." + shippedName: 1, "p.all2 p.shop.wordy": 1, "p.all2.retry p.all2.retry": 1,
			"p.some p." + orderedName: 2, "p.some.retry p.some.retry": 1,
		}, g.broker.subscriptions())

		shared := newRig(t, relay.WithPrefix("p."), relay.WithTopics(func(event string) string { return "shared-" + event[:4] }))
		var initialized []string
		shared.broker.set(func() {
			shared.broker.onInitialize = func(group, topic string) error {
				initialized = append(initialized, group+" "+topic)
				return nil
			}
		})
		all(shared, "all")
		shared.start()
		require.Equal(t, []string{"p.all shared-shop", "p.all.retry p.all.retry"}, initialized, "once, although several events share it")
		require.Equal(t, map[string]int{"p.all shared-shop": 1, "p.all.retry p.all.retry": 1}, shared.broker.subscriptions())
	})
}

func TestHandleErrors(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	nothing := func(context.Context, tidings.Event) error { return nil }
	_, err := g.Handle(tidings.Handler{Name: "h", EventType: reflectType[unregistered](), Deliver: nothing})
	require.ErrorIs(t, err, tidings.ErrUnregistered)
	require.ErrorContains(t, err, "tidings.Register[relay_test.unregistered](registry,")
	sub := tidings.Subscribe(g.bus, nothing, tidings.Named("h"), tidings.Via(g.Relay))
	requirePanic(t, `"h" already`, func() { tidings.Subscribe(tidings.New(), nothing, tidings.Named("h"), tidings.Via(g.Relay)) })
	_, err = g.Handle(tidings.Handler{Name: "h", EventType: sub.Info().EventType, Deliver: nothing, Subscription: sub})
	require.ErrorContains(t, err, `"h" already, subscribed at `+sub.Info().File)
	require.NoError(t, g.Close(t.Context()))
	_, err = g.Handle(tidings.Handler{Name: "other", EventType: sub.Info().EventType, Deliver: nothing, Subscription: sub})
	require.ErrorIs(t, err, relay.ErrClosed)
	require.False(t, strings.Contains(g.logs.String(), "ERROR"))
}
