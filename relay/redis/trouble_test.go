package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
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
			m := message.NewMessage(fmt.Sprint(n), nil)
			for b.Publish("topic", m) != nil { // which waits by itself
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
		got[m.UUID] = true
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
	require.Equal(t, "after", string(c.next().Payload))
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
		require.Equal(t, "after", string(m.Payload))
		require.NoError(t, client.Del(t.Context(), topic).Err())
		require.True(t, m.Ack())
		publish(t, b, topic, "again")
		require.Equal(t, "again", string(c.next().Payload))
	})
}

// An answer that gets lost is asked for again at once: its entry is this
// consumer's, and nobody else would get it for an hour.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	direct, client := newBroker(t, "redis://"+server.Addr())
	proxy := newProxy(t, server.Addr())
	b, _ := newBroker(t, "redis://"+proxy.addr)
	c := newConsumer(t, b, "group", "topic", time.Hour)
	for n := range 5 {
		proxy.swallow.Store(true)
		publish(t, direct, "topic", fmt.Sprint(n))
		m := c.next()
		require.Equal(t, fmt.Sprint(n), string(m.Payload))
		require.False(t, proxy.swallow.Load(), "no answer was lost")
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
	require.ErrorContains(t, b.Publish("topic", message.NewMessageWithContext(ctx, "short", nil)), `relay/redis: publishing to "topic"`)
	require.Less(t, time.Since(since), redis.PublishTimeout, "the message's ctx counts")

	var waiting sync.WaitGroup
	waiting.Go(func() {
		if err := b.Publish("topic", message.NewMessage("long", nil)); err == nil {
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
		if string(m.Payload) == "afterwards" {
			return
		}
	}
}

// Close of all while the server is away.
func TestCloseWithoutServer(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	b, _ := newBroker(t, "redis://"+server.Addr())
	s, err := b.Subscriber(t.Context(), relay.Group{Name: "group"})
	require.NoError(t, err)
	messages, err := s.Subscribe(t.Context(), "topic")
	require.NoError(t, err)
	publish(t, b, "topic", "in flight")
	c := &consumer{t, s, messages}
	m := c.next()
	server.Close()
	require.True(t, m.Ack())
	c.close()
	require.NoError(t, b.Close())
	require.Error(t, b.Publish("topic", message.NewMessage("late", nil)))
	_, err = s.Subscribe(t.Context(), "topic")
	require.Error(t, err)
}

// A proxy can lose an answer that has a message in it, and the connection. And
// it can lose all that goes in one direction, with the connections as they are.
type proxy struct {
	addr     string
	swallow  atomic.Bool
	up, down atomic.Bool // lose what goes to the server, and what comes from it
}

func newProxy(t *testing.T, server string) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: listener.Addr().String()}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(conn, server) })
		}
	})
	return p
}

func (p *proxy) serve(client net.Conn, addr string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	var up sync.WaitGroup
	defer up.Wait()
	defer func() { _ = server.Close() }()
	up.Go(func() {
		defer func() { _ = server.Close() }()
		pass(server, client, &p.up, func([]byte) bool { return false })
	})
	pass(client, server, &p.down, func(b []byte) bool {
		return bytes.Contains(b, []byte(payloadField)) && p.swallow.CompareAndSwap(true, false)
	})
	_ = client.Close()
}

// pass copies until an end is closed, or lost says so, and drops what comes while
// it is to vanish.
func pass(to, from net.Conn, vanish *atomic.Bool, lost func([]byte) bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil || lost(b[:n]) {
			return
		}
		if vanish.Load() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
