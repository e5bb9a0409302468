package relay_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/internal/testhook"
)

// What has passed leaves no room behind. The test measures the heap, so it is
// alone.
func TestNothingGrows(t *testing.T) {
	g := newRig(t)
	s := brokertest.NewSubscriber(g.broker, relay.Group{Name: "g"})
	for _, tt := range []struct {
		name string
		do   func()
	}{
		{"a burst in a queue of the broker in memory", func() {
			const burst = 500_000
			require.NoError(t, s.Declare("burst"))
			m := &relay.Message{}
			for range burst {
				require.NoError(t, g.broker.Publish(t.Context(), "burst", m))
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			messages, err := s.Subscribe(ctx, "burst")
			require.NoError(t, err)
			for range burst {
				(<-messages).Ack()
			}
		}},
		{"forwards that have ended", func() {
			for range 5_000 {
				relay.Forward[ordered](g.bus, g.Relay).Unsubscribe()
			}
		}},
		{"handlers that have ended", func() {
			goroutines, deadline := runtime.NumGoroutine(), time.Now().Add(5*time.Minute)
			for n := range 5_000 {
				g.handle(fmt.Sprint("h", n), func(context.Context, ordered) error { return nil }).Unsubscribe()
				// The runtime keeps what it needs for the most goroutines that there
				// were at once, and on one processor they all wait for this one.
				for runtime.NumGoroutine() > goroutines+10 {
					require.True(t, time.Now().Before(deadline), "goroutines are left")
					runtime.Gosched()
				}
			}
		}},
	} {
		before := heap()
		tt.do()
		require.Eventually(t, func() bool { return heap() < before+1<<20 }, time.Minute, 50*time.Millisecond, "%s: %d bytes more", tt.name, heap()-before)
	}
	require.NoError(t, s.Close())
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What the broker in memory has forgotten comes back with its consumers, and until
// then it accepts nothing that would be lost.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	url := newURL()
	open := func() relay.Broker {
		r, err := relay.Open(t.Context(), url, newRegistry())
		require.NoError(t, err)
		return brokerOf(r)
	}
	b := open()
	one := brokertest.NewSubscriber(b, relay.Group{Name: "one"})
	two := brokertest.NewSubscriber(b, relay.Group{Name: "two"})
	declare := func(s *brokertest.Subscriber, topic string) {
		require.NoError(t, s.Declare(topic))
	}
	for _, s := range []*brokertest.Subscriber{one, two} {
		declare(s, "a")
		declare(s, "b")
	}
	m := &relay.Message{}
	testhook.Forget(url, "a", "")
	require.ErrorContains(t, b.Publish(t.Context(), "a", m), `the topic "a" was deleted`)
	require.NoError(t, b.Publish(t.Context(), "b", m))
	declare(one, "a")
	require.Error(t, b.Publish(t.Context(), "a", m), "one is still missing")
	declare(two, "a")
	require.NoError(t, b.Publish(t.Context(), "a", m))
	require.NoError(t, b.Publish(t.Context(), "c", m), "it was never there")
}
