package redis_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testproxy"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/redis"
)

// Every call ends within seconds, with an error, in whichever way the server is
// silent; and all goes on when it is not any more.
func TestEveryWaitEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		reason string
		block  func(t *testing.T, s *child, p *testproxy.Proxy) (unblock func())
	}{
		{"the network swallows all", func(_ *testing.T, _ *child, p *testproxy.Proxy) func() {
			p.Filter(testproxy.Losing(true, true))
			return p.Resume
		}},
		{"nothing arrives at the server", func(_ *testing.T, _ *child, p *testproxy.Proxy) func() {
			p.Filter(testproxy.Losing(true, false))
			return p.Resume
		}},
		{"nothing comes back", func(_ *testing.T, _ *child, p *testproxy.Proxy) func() {
			p.Filter(testproxy.Losing(false, true))
			return p.Resume
		}},
		{"the server is stopped", func(t *testing.T, s *child, _ *testproxy.Proxy) func() {
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
			return func() { require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT)) }
		}},
		{"the server holds up writers", func(t *testing.T, s *child, _ *testproxy.Proxy) func() {
			client := goredis.NewClient(&goredis.Options{Addr: s.addr})
			t.Cleanup(func() { _ = client.Close() })
			require.NoError(t, client.Do(t.Context(), "CLIENT", "PAUSE", time.Hour.Milliseconds(), "WRITE").Err())
			return func() { require.NoError(t, client.Do(t.Context(), "CLIENT", "UNPAUSE").Err()) }
		}},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			s := newChild(t)
			p := testproxy.Start(t, s.addr, nil)
			url := "redis://" + p.Addr()
			queue := relay.Group{Name: "queue", Queue: true}
			staying := newPatient(t, p.Addr())
			stays := subscribe(t, staying, relay.Group{Name: "stays", AckWait: 2 * time.Second}, "topic")
			leaving := newPatient(t, p.Addr())
			leaves := subscribe(t, leaving, relay.Group{Name: "leaves"}, "topic")
			other := subscribe(t, leaving, relay.Group{Name: "leaves"}, "other topic")
			another := brokertest.NewSubscriber(leaving, relay.Group{Name: "another"})
			publish(t, staying, "topic", "before")
			require.True(t, stays.next().Ack())
			held := leaves.next()

			unblock := test.block(t, s, p)
			var calls sync.WaitGroup
			call := func(name string, do func() error) {
				calls.Go(func() {
					since := time.Now()
					err := do()
					t.Logf("%s: %.1f s, %v", name, time.Since(since).Seconds(), err)
					if took := time.Since(since); took > 4*redis.PublishTimeout { // the longest limit, on a slow machine
						t.Errorf("%s has taken %v", name, took)
					}
					if err == nil {
						t.Errorf("%s has succeeded", name)
					}
				})
			}
			call("Publish", func() error { return staying.Publish(t.Context(), "topic", &relay.Message{ID: "lost"}) })
			call("Enqueue", func() error { return staying.Enqueue(t.Context(), queue, &relay.Message{ID: "lost"}) })
			call("Open", func() error { return opened(t, url) })
			call("SubscribeInitialize of a new topic", func() error {
				return another.Declare("new topic")
			})
			call("Subscribe", func() error { _, err := another.Subscribe(t.Context(), "new topic"); return err })
			calls.Wait()
			require.True(t, held.Ack())
			since := time.Now()
			leaves.close() // within patience
			other.close()
			require.NoError(t, another.Close())
			require.NoError(t, leaving.Close())
			t.Logf("Close of all: %.1f s", time.Since(since).Seconds())

			unblock()
			require.Eventually(t, func() bool {
				return staying.Publish(t.Context(), "topic", &relay.Message{ID: "after", Body: []byte("after")}) == nil
			}, 2*patience, 10*time.Millisecond)
			stays.drain("after")
			require.NoError(t, staying.Enqueue(t.Context(), queue, &relay.Message{ID: "after", Body: []byte("after")}))
			subscribe(t, staying, queue, queue.Name).drain("after")
		})
	}
}

// newPatient returns a broker whose client has no limits of time of its own.
func newPatient(t *testing.T, addr string) relay.Broker {
	t.Helper()
	b, err := redis.New(redis.Config{Client: &goredis.UniversalOptions{Addrs: []string{addr}, ReadTimeout: -1, WriteTimeout: -1}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// A server that answers with a refusal makes Publish fail. The subscriptions go
// on, and nothing that was accepted is lost.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	config := func(t *testing.T, client *goredis.Client, name, value string) {
		require.NoError(t, client.ConfigSet(t.Context(), name, value).Err())
	}
	tests := []struct {
		answer         string
		refuse, accept func(t *testing.T, s *child, client *goredis.Client)
	}{
		{
			"OOM",
			func(t *testing.T, _ *child, client *goredis.Client) { config(t, client, "maxmemory", "1") },
			func(t *testing.T, _ *child, client *goredis.Client) { config(t, client, "maxmemory", "0") },
		},
		{
			"NOREPLICAS",
			func(t *testing.T, _ *child, client *goredis.Client) { config(t, client, "min-replicas-to-write", "1") },
			func(t *testing.T, _ *child, client *goredis.Client) { config(t, client, "min-replicas-to-write", "0") },
		},
		{
			"READONLY",
			func(t *testing.T, _ *child, client *goredis.Client) {
				require.NoError(t, client.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err()) // where no server is
			},
			func(t *testing.T, _ *child, client *goredis.Client) {
				require.NoError(t, client.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
			},
		},
	}
	for _, test := range tests {
		t.Run(test.answer, func(t *testing.T) {
			t.Parallel()
			s := newChild(t)
			_, client := newBroker(t, s.url())
			refusedFor(t, s.url(), test.answer, func() { test.refuse(t, s, client) }, func() { test.accept(t, s, client) })
		})
	}
	for _, answer := range []string{
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
		"LOADING Redis is loading the dataset in memory",
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			hook := func(c *server.Peer, cmd string, _ ...string) bool {
				switch cmd {
				case "XADD", "XREADGROUP", "XACK", "XGROUP", "XDEL":
					c.WriteError(answer)
					return true
				}
				return false
			}
			refusedFor(t, "redis://"+m.Addr(), answer, func() { m.Server().SetPreHook(hook) }, func() { m.Server().SetPreHook(nil) })
		})
	}
}

func refusedFor(t *testing.T, url, answer string, refuse, accept func()) {
	b, _ := newBroker(t, url)
	queue := relay.Group{Name: "queue", Queue: true}
	events := subscribe(t, b, relay.Group{Name: "group", AckWait: 2 * time.Second}, "topic")
	retries := subscribe(t, b, queue, queue.Name)
	publish(t, b, "topic", "1", "2", "3")
	first := events.next()
	refuse()
	require.ErrorContains(t, b.Publish(t.Context(), "topic", &relay.Message{ID: "refused"}), answer)
	err := b.Enqueue(t.Context(), queue, &relay.Message{ID: "refused"})
	require.ErrorContains(t, err, answer)
	require.NotErrorIs(t, err, relay.ErrTooLarge)
	require.True(t, first.Ack())
	declareErr := func() error {
		s := brokertest.NewSubscriber(b, relay.Group{Name: "group"})
		defer func() { require.NoError(t, s.Close()) }()
		return s.Declare("topic")
	}
	require.NoError(t, declareErr(), "what is there need not be made again")
	accept()
	require.Eventually(t, func() bool { return b.Publish(t.Context(), "topic", &relay.Message{ID: "4", Body: []byte("4")}) == nil }, patience, 10*time.Millisecond)
	got := events.drain("4")
	require.Subset(t, got, []string{"2", "3", "4"})
	require.NoError(t, b.Enqueue(t.Context(), queue, &relay.Message{ID: "5", Body: []byte("5")}))
	require.Equal(t, []string{"5"}, retries.drain("5"))
}

// What no server takes is found out before it is sent, if the server tells its
// limits, and from its answer otherwise.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	tests := []struct {
		reason   string
		settings []string
		size     int
		tooLarge bool
	}{
		{"below the least limit that can be set", []string{"--proto-max-bulk-len", "1mb"}, 900_000, false},
		{"below the limit", []string{"--proto-max-bulk-len", "4mb"}, 3 * mb, false},
		{"above the limit of a field", []string{"--proto-max-bulk-len", "4mb"}, 5 * mb, true},
		{"above the limit of a command", []string{"--client-query-buffer-limit", "4mb"}, 5 * mb, true},
		{"above the memory", []string{"--maxmemory", "4mb"}, 5 * mb, true},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			s := newChild(t, test.settings...)
			b, _ := newBroker(t, s.url())
			m := &relay.Message{ID: "large", Body: make([]byte, test.size)}
			for _, tt := range []struct {
				name string
				err  error
			}{
				{"Publish", b.Publish(t.Context(), "topic", m)},
				{"Enqueue", b.Enqueue(t.Context(), relay.Group{Name: "queue", Queue: true}, m)},
			} {
				if test.tooLarge {
					require.ErrorIs(t, tt.err, relay.ErrTooLarge, tt.name)
					require.NoError(t, redis.CheckSize(t.Context(), b, "a", []byte("b")))
				} else {
					require.NoError(t, tt.err, tt.name)
				}
			}
		})
	}
	t.Run("a user who may not ask", func(t *testing.T) {
		t.Parallel()
		s := newChild(t, "--proto-max-bulk-len", "1mb")
		_, client := newBroker(t, s.url())
		require.NoError(t, client.Do(t.Context(), "ACL", "SETUSER", "carrier", "on", ">secret", "~*", "+@all", "-config").Err())
		b, err := redis.New(redis.Config{Client: &goredis.UniversalOptions{Addrs: []string{s.addr}, Username: "carrier", Password: "secret"}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		require.ErrorIs(t, b.Publish(t.Context(), "topic", &relay.Message{ID: "large", Body: make([]byte, 5*mb)}), relay.ErrTooLarge)
		require.NoError(t, client.ConfigSet(t.Context(), "proto-max-bulk-len", "8mb").Err())
		require.NoError(t, b.Publish(t.Context(), "topic", &relay.Message{ID: "large", Body: make([]byte, 5*mb)}))
	})
}
