package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testproxy"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/redis"
)

// What Publish has accepted survives that the server is killed, and publishing
// and fetching go on by themselves.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	server := newChild(t, "--appendonly", "yes", "--appendfsync", "always")
	b, _ := newBroker(t, server.url())
	c := newConsumer(t, b, "group", "topic", 2*time.Second)
	const messages = 600
	third := make(chan struct{})
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for n := range messages {
			if n == messages/3 {
				close(third)
			}
			m := &relay.Message{ID: fmt.Sprint(n)}
			for b.Publish(t.Context(), "topic", m) != nil { // which waits by itself
				if t.Context().Err() != nil {
					return
				}
			}
		}
	})
	var killer sync.WaitGroup
	killer.Go(func() {
		<-third
		server.kill()
		server.start()
	})
	got := map[string]bool{}
	for len(got) < messages {
		m := c.next()
		got[m.ID] = true
		require.True(t, m.Ack())
	}
	killer.Wait()
	publisher.Wait()
}

// A server that stores nothing forgets the group as well; it is declared anew,
// and what was published meanwhile is for it.
func TestServerForgets(t *testing.T) {
	t.Parallel()
	server := newChild(t)
	b, _ := newBroker(t, server.url())
	c := newConsumer(t, b, "group", "topic", time.Minute)
	for range 2 {
		publish(t, b, "topic", "before")
		require.True(t, c.next().Ack())
		server.kill()
		server.start()
	}
	publish(t, b, "topic", "after")
	require.Equal(t, "after", string(c.next().Body))
}

// The same, with the connection intact.
func TestGroupIsDestroyed(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		b, client := newBroker(t, url)
		topic := topicName(t)
		c := newConsumer(t, b, "group", topic, time.Minute)
		require.NoError(t, client.Del(t.Context(), topic).Err())
		publish(t, b, topic, "after")
		m := c.next()
		require.Equal(t, "after", string(m.Body))
		require.NoError(t, client.Del(t.Context(), topic).Err())
		require.True(t, m.Ack())
		publish(t, b, topic, "again")
		require.Equal(t, "again", string(c.next().Body))
	})
}

// An answer that gets lost is asked for again at once: its entry is this
// consumer's, and nobody else would get it for an hour.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	direct, client := newBroker(t, "redis://"+server.Addr())
	proxy := testproxy.Start(t, server.Addr(), nil)
	b, _ := newBroker(t, "redis://"+proxy.Addr())
	c := newConsumer(t, b, "group", "topic", time.Hour)
	var swallow atomic.Bool
	proxy.Filter(func(toServer bool, b []byte) testproxy.Fate {
		if !toServer && bytes.Contains(b, []byte(payloadField)) && swallow.CompareAndSwap(true, false) {
			return testproxy.Cut
		}
		return testproxy.Pass
	})
	for n := range 5 {
		swallow.Store(true)
		publish(t, direct, "topic", fmt.Sprint(n))
		m := c.next()
		require.Equal(t, fmt.Sprint(n), string(m.Body))
		require.False(t, swallow.Load(), "no answer was lost")
		require.True(t, m.Ack())
	}
	require.Eventually(t, func() bool { return pending(t, client, "topic", "group") == 0 }, patience, 10*time.Millisecond)
}

// A server that does not answer holds up neither Publish nor Close nor Open for
// ever.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	server := newChild(t)
	b, _ := newBroker(t, server.url())
	c := newConsumer(t, b, "group", "topic", time.Minute)
	publish(t, b, "topic", "in flight")
	m := c.next()
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGSTOP))
	resume := func() { _ = server.cmd.Process.Signal(syscall.SIGCONT) } // a second time in vain
	defer resume()

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	since := time.Now()
	require.ErrorContains(t, b.Publish(ctx, "topic", &relay.Message{ID: "short"}), `relay/redis: publishing to "topic"`)
	require.Less(t, time.Since(since), redis.PublishTimeout, "the message's ctx counts")

	var waiting sync.WaitGroup
	waiting.Go(func() {
		if err := b.Publish(t.Context(), "topic", &relay.Message{ID: "long"}); err == nil {
			t.Error("published to a server that hangs")
		}
	})
	waiting.Go(func() {
		r, err := relay.Open(t.Context(), server.url(), new(tidings.Registry))
		if unreachable := (*relay.UnreachableError)(nil); !errors.As(err, &unreachable) {
			t.Errorf("a server that hangs was opened: %v, %v", r, err)
		}
	})
	require.True(t, m.Ack())
	c.close()
	waiting.Wait()
	require.Less(t, time.Since(since), 4*redis.PublishTimeout) // the longest limit, on a slow machine

	resume()
	again := newConsumer(t, b, "group", "topic", time.Second)
	publish(t, b, "topic", "afterwards")
	for {
		m := again.next()
		require.True(t, m.Ack())
		if string(m.Body) == "afterwards" {
			return
		}
	}
}

// Close of all while the server is away.
func TestCloseWithoutServer(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	b, _ := newBroker(t, "redis://"+server.Addr())
	s := brokertest.NewSubscriber(b, relay.Group{Name: "group"})
	messages, err := s.Subscribe(t.Context(), "topic")
	require.NoError(t, err)
	publish(t, b, "topic", "in flight")
	c := &consumer{t, s, messages}
	m := c.next()
	server.Close()
	require.True(t, m.Ack())
	c.close()
	require.NoError(t, b.Close())
	require.Error(t, b.Publish(t.Context(), "topic", &relay.Message{ID: "late"}))
	_, err = s.Subscribe(t.Context(), "topic")
	require.Error(t, err)
}
