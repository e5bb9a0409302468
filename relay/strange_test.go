package relay_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// A version is a process of a program that is being deployed.
type version struct {
	*relay.Relay
	bus  *tidings.EventBus
	logs *logs
}

// newVersion opens one on the broker of g. newer knows late as well.
func (g *rig) newVersion(newer bool, opts ...relay.Option) *version {
	g.t.Helper()
	registry := newRegistry()
	if newer {
		tidings.Register[late](registry, "shop.late", 1)
	}
	v := &version{logs: &logs{}, bus: tidings.New()}
	r, err := relay.New(&uncounted{g.broker.Broker}, registry, append([]relay.Option{relay.WithLogger(slog.New(slog.NewTextHandler(v.logs, nil)))}, opts...)...)
	require.NoError(g.t, err)
	v.Relay = r
	g.t.Cleanup(func() { require.NoError(g.t, v.Close(context.Background())) })
	return v
}

// An uncounted is a broker that several relays have.
type uncounted struct{ relay.Broker }

func (uncounted) Close() error { return nil }

// audit subscribes a handler of everything, and returns what it gets.
func (v *version) audit(t *testing.T, handler func(tidings.Event) error, opts ...tidings.SubscribeOption) {
	t.Helper()
	tidings.Subscribe(v.bus, func(_ context.Context, e tidings.Event) error { return handler(e) }, tidings.Named("audit"), tidings.Via(v), tidings.SubscribeOptions(opts))
	require.NoError(t, v.Start(t.Context()))
}

// In a deployment the old process does not know what the new one publishes. It
// leaves that to the new one: nothing is lost, and it counts as no attempt.
func TestRollingDeployment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts []relay.Option
	}{
		{"topics", nil},
		{"one topic", []relay.Option{relay.WithTopics(func(string) string { return "all" })}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const events = 40
				g := newRig(t, tt.opts...)
				older, newer := g.newVersion(false, tt.opts...), g.newVersion(true, tt.opts...)
				older.audit(t, func(tidings.Event) error { return nil })
				tried, done := map[tidings.Event]int{}, 0
				newer.audit(t, func(e tidings.Event) error {
					if tried[e]++; tried[e] == 1 {
						return errHandler
					}
					done++
					return nil
				}, tidings.Attempts(2))
				for range events {
					require.NoError(t, tidings.Publish(t.Context(), newer.bus, late{}))
				}
				pass(time.Hour)
				require.Equal(t, events, done)
				require.Empty(t, g.letters("audit"))
			})
		})
	}
}

// While there are only old processes, what they do not know waits for a new one.
func TestUnknownEventWaitsForANewProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t)
		newer := g.newVersion(true)
		var numbers []int
		newer.audit(t, func(tidings.Event) error { return errHandler })
		require.NoError(t, tidings.Publish(t.Context(), newer.bus, late{}))
		synctest.Wait()
		require.NoError(t, newer.Close(t.Context())) // the first is stopped again

		older := g.newVersion(false)
		older.audit(t, func(tidings.Event) error { numbers = append(numbers, 0); return nil })
		pass(5 * time.Minute)
		require.Empty(t, numbers)
		require.Equal(t, 8, older.logs.count("relay: an attempt has failed"), "after 1, 4, 16 and then each 64 s")
		require.Contains(t, older.logs.String(), `event name \"shop.late\" is not registered`)
		require.NoError(t, older.Close(t.Context()))

		newer = g.newVersion(true)
		began, calls := time.Now(), []time.Duration{}
		newer.audit(t, func(tidings.Event) error { calls = append(calls, time.Since(began)); return errHandler })
		pass(time.Hour)
		require.Equal(t, seconds(0, 4, 20, 84), calls, "at once, and as many attempts as if there had been no old process")
		letters := g.letters("audit")
		require.Len(t, letters, 1)
		require.Equal(t, 5, letters[0].Attempts)
	})
}

// A handler that takes another event now has some left of the one before. These
// are not acknowledged, but become dead letters, which a redrive brings to a
// process where it takes them.
func TestHandlerOfAnotherEvent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		opts []relay.Option
	}{
		{"topics", nil},
		{"one topic", []relay.Option{relay.WithTopics(func(string) string { return "all" })}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, tt.opts...)
				failing := g.newVersion(false, tt.opts...)
				tidings.Subscribe(failing.bus, func(context.Context, ordered) error { return errHandler }, tidings.Named("pack"), tidings.Via(failing))
				require.NoError(t, failing.Start(t.Context()))
				for n := range 10 {
					require.NoError(t, tidings.Publish(t.Context(), failing.bus, ordered{Number: n}))
				}
				synctest.Wait()
				require.NoError(t, failing.Close(t.Context()))

				other := g.newVersion(false, tt.opts...)
				tidings.Subscribe(other.bus, func(context.Context, shipped) error { return nil }, tidings.Named("pack"), tidings.Via(other))
				require.NoError(t, other.Start(t.Context()))
				pass(time.Hour)
				for range 2 { // also after a redrive
					letters := g.letters("pack")
					require.Len(t, letters, 10)
					require.Contains(t, letters[0].Reason, `pack does not handle "shop.ordered" in this process`)
					require.Contains(t, other.logs.String(), "pack does not handle")
					n, err := g.Redrive(t.Context(), "pack", nil)
					require.NoError(t, err)
					require.Equal(t, 10, n)
					pass(time.Hour)
				}
				require.NoError(t, other.Close(t.Context()))

				done := 0
				cured := g.newVersion(false, tt.opts...)
				tidings.Subscribe(cured.bus, func(context.Context, ordered) error { done++; return nil }, tidings.Named("pack"), tidings.Via(cured))
				require.NoError(t, cured.Start(t.Context()))
				_, err := g.Redrive(t.Context(), "pack", nil)
				require.NoError(t, err)
				pass(time.Hour)
				require.Equal(t, 10, done)
			})
		})
	}
}
