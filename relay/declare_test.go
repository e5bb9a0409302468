package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// Groups are declared again all the time, since somebody may delete them: also
// those of a process that has not called Start, as far as it has sent something.
func TestDeclareAgain(t *testing.T) {
	t.Parallel()
	for _, start := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t)
			declared := map[string]int{}
			g.broker.set(func() {
				g.broker.onInitialize = func(group, topic string) error {
					declared[group+" "+topic]++
					return nil
				}
			})
			sub := g.handle("steady", func(context.Context, ordered) error { return nil })
			g.handle("silent", func(context.Context, ordered) error { return nil }).Unsubscribe()
			pass(time.Minute)
			require.Empty(t, declared, "nothing has begun")
			if start {
				g.start()
			} else {
				g.publish(1)
			}
			pass(time.Minute)
			require.Len(t, declared, 2)
			for what, n := range declared {
				require.GreaterOrEqual(t, n, 1+12, what)
				require.LessOrEqual(t, n, 1+15, what)
			}
			sub.Unsubscribe()
			clear(declared)
			pass(time.Minute)
			require.Empty(t, declared, "it is not wanted any more")
		})
	}
}

// Why it is not possible is said once, another reason a minute later, and when it
// is possible again.
func TestDeclareAgainFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		calls := &times{g: g}
		g.handle("steady", func(context.Context, ordered) error { calls.add(); return nil })
		g.start()
		rounds := 0
		g.broker.set(func() {
			g.broker.onInitialize = func(string, string) error { rounds++; return errRefused }
		})
		pass(2 * time.Minute)
		require.Equal(t, 1, g.logs.count("cannot be declared again"))
		require.Contains(t, g.logs.String(), errRefused.Error())
		g.broker.set(func() {
			g.broker.onInitialize = func(string, string) error { rounds++; return fmt.Errorf("no permission %d", rounds) }
		})
		pass(3*time.Minute - time.Second)
		require.Equal(t, 1+3, g.logs.count("cannot be declared again"))
		require.Zero(t, g.logs.count("are declared again"))
		g.broker.set(func() { g.broker.onInitialize = nil })
		pass(time.Minute)
		require.Equal(t, 1, g.logs.count("are declared again"))
		g.publish(1)
		synctest.Wait()
		require.Len(t, calls.all(), 1)
	})
}

// A topic that cannot be declared keeps no other from it.
func TestDeclareAgainWhatCanBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		tidings.Subscribe(g.bus, func(context.Context, tidings.Event) error { return nil }, tidings.Named("all"), tidings.Via(g.Relay))
		g.start()
		var declared []string
		g.broker.set(func() {
			g.broker.onInitialize = func(_, topic string) error {
				declared = append(declared, topic)
				return refusing(orderedName)(topic, nil)
			}
		})
		pass(relay.DeclareEvery)
		require.Equal(t, []string{orderedName, shippedName, "shop.wordy", "all.retry"}, declared)
	})
}

// What is registered after Start is fetched as well: at once what this process
// sends, and what others send after some seconds.
func TestRegisteredAfterStart(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{0, relay.DeclareEvery} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(t)
			registry := newRegistry()
			r, err := relay.New(b, registry)
			require.NoError(t, err)
			defer r.Close(context.WithoutCancel(t.Context()))
			bus := tidings.New()
			var got []tidings.Event
			tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error { got = append(got, e); return nil },
				tidings.Named("all"), tidings.Via(r))
			require.NoError(t, r.Start(t.Context()))
			tidings.Register[late](registry, "shop.late", 1)
			time.Sleep(wait)
			sender, from := r, bus
			if wait > 0 {
				other := newRegistry()
				tidings.Register[late](other, "shop.late", 1)
				sender, err = relay.New(&broker{Broker: b.Broker, published: map[string]int{}}, other)
				require.NoError(t, err)
				defer sender.Close(context.WithoutCancel(t.Context()))
				from = tidings.New(tidings.WithTransport(sender))
			}
			require.NoError(t, tidings.Publish(t.Context(), from, late{}))
			pass(2 * relay.DeclareEvery)
			require.Len(t, got, 1)
		})
	}
}

type late struct{ tidings.DomainEvent }

// A type that is registered later, and has no topic, keeps no other topic of the
// handler from being declared again.
func TestDeclareAgainBesideABadTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, registry, logged := newBroker(t), newRegistry(), &logs{}
		r, err := relay.New(b, registry, relay.WithLogger(slog.New(slog.NewTextHandler(logged, nil))))
		require.NoError(t, err)
		defer r.Close(context.WithoutCancel(t.Context()))
		tidings.Subscribe(tidings.New(), func(context.Context, tidings.Event) error { return nil }, tidings.Named("all"), tidings.Via(r))
		require.NoError(t, r.Start(t.Context()))
		tidings.Register[late](registry, "shop.late.dead", 1) // a name that is the relay's
		var mu sync.Mutex
		declared := map[string]bool{}
		b.set(func() {
			b.onInitialize = func(_, topic string) error {
				mu.Lock()
				defer mu.Unlock()
				declared[topic] = true
				return nil
			}
		})
		pass(2 * relay.DeclareEvery)
		mu.Lock()
		defer mu.Unlock()
		require.Contains(t, declared, orderedName)
		require.Contains(t, declared, "all.retry")
		require.Contains(t, logged.String(), "shop.late.dead")
	})
}

// A broker that does not answer keeps nobody longer than his context lasts, nor
// from stopping; what it has been asked goes on when it answers.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		silence func(*broker, chan struct{})
	}{
		{"subscriber", func(b *broker, answer chan struct{}) {
			b.onSubscriber = func(relay.Group) error { <-answer; return nil }
		}},
		{"initialize", func(b *broker, answer chan struct{}) {
			b.onInitialize = func(string, string) error { <-answer; return nil }
		}},
		{"subscribe", func(b *broker, answer chan struct{}) {
			b.onSubscribe = func(string, string) error { <-answer; return nil }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t)
				answer := make(chan struct{})
				g.broker.set(func() { tt.silence(g.broker, answer) })
				calls := &times{g: g}
				sub := g.handle("steady", func(context.Context, ordered) error { calls.add(); return nil })
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				err := g.Start(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, `relay: the handler "steady": the broker has not answered`)
				require.Equal(t, 3*time.Second, g.since())
				second := make(chan error)
				go func() { second <- g.Start(t.Context()) }()
				synctest.Wait()
				if tt.name == "initialize" {
					sub.Unsubscribe()
					require.Equal(t, 3*time.Second, g.since())
					require.ErrorIs(t, <-second, relay.ErrClosed)
					close(answer)
					return
				}
				close(answer)
				require.NoError(t, <-second)
				g.publish(1)
				synctest.Wait()
				require.Len(t, calls.all(), 1)
				require.Equal(t, 3*time.Second, g.since())
			})
		})
	}
}

// A panic of a Broker, or of the rule for topics, is an error.
func TestDeclarePanics(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.broker.set(func() { g.broker.onInitialize = func(string, string) error { panic(errRefused) } })
	g.handle("steady", func(context.Context, ordered) error { return nil })
	err := g.Start(t.Context())
	require.ErrorIs(t, err, errRefused)
	require.True(t, errors.As(err, new(*tidings.PanicError)))
}
