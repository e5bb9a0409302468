package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/redis"
	"github.com/tidings-go/tidings/relay/relaytest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, url string) {
		_, client := newBroker(t, url)
		remove := func(t *testing.T, topic string) { require.NoError(t, client.Del(t.Context(), topic).Err()) }
		relaytest.Test(t, relaytest.Server{
			URL:         url,
			RemoveTopic: remove,
			RemoveQueue: func(t *testing.T, group relay.Group, topic string) {
				if group.Queue {
					remove(t, topic)
				} else {
					require.NoError(t, client.XGroupDestroy(t.Context(), topic, group.Name).Err())
				}
			},
			Wiped: func(t *testing.T) (string, func()) {
				s := newChild(t)
				return s.url(), func() { s.kill(); s.start() }
			},
		})
	})
}

// eachServer runs a test on the server in this process and on a real one.
func eachServer(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		test(t, "redis://"+miniredis.RunT(t).Addr())
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		url := os.Getenv("TIDINGS_REDIS_URL")
		if url == "" {
			missing(t, `TIDINGS_REDIS_URL is not set. Run scripts/services up, then eval "$(scripts/services env)"`)
		}
		test(t, url)
	})
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
		t.Fatal(what)
	}
	t.Skip("SKIPPED, NO REDIS: " + what)
}

// A child is a server that the test starts and stops.
type child struct {
	t    *testing.T
	dir  string
	addr string
	args []string
	cmd  *exec.Cmd
}

// newChild starts a server with further arguments, in a directory of its own.
func newChild(t *testing.T, args ...string) *child {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		missing(t, "no redis-server on the PATH: apt-get install redis-server")
	}
	c := &child{t: t, dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", testport.Reserve(t)), args: args}
	t.Cleanup(c.kill)
	c.start()
	return c
}

func (c *child) url() string { return "redis://" + c.addr }

func (c *child) start() {
	c.t.Helper()
	host, port, err := net.SplitHostPort(c.addr)
	require.NoError(c.t, err)
	c.cmd = exec.Command("redis-server", append([]string{"--bind", host, "--port", port, "--dir", c.dir, "--save", "", "--logfile", "server.log"}, c.args...)...)
	require.NoError(c.t, c.cmd.Start())
	client := goredis.NewClient(&goredis.Options{Addr: c.addr, MaxRetries: -1})
	defer func() { require.NoError(c.t, client.Close()) }()
	// It listens before it has loaded what it has stored, and says so until then.
	require.Eventually(c.t, func() bool { return client.Ping(c.t.Context()).Err() == nil },
		patience, 10*time.Millisecond, "redis-server does not answer")
}

// kill is the end of a server that has no time for anything.
func (c *child) kill() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill() // it may be dead
		_ = c.cmd.Wait()         // of which this tells
		c.cmd = nil
	}
}

// newBroker returns a broker and a client of the same server.
func newBroker(t *testing.T, url string) (relay.Broker, *goredis.Client) {
	t.Helper()
	options, err := goredis.ParseURL(url)
	require.NoError(t, err)
	b, err := redis.New(redis.Config{
		Client: &goredis.UniversalOptions{Addrs: []string{options.Addr}, DB: options.DB},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	client := goredis.NewClient(options)
	t.Cleanup(func() {
		require.NoError(t, b.Close())
		require.NoError(t, client.Close())
	})
	return b, client
}

// topicName returns a new topic.
func topicName(t *testing.T) string {
	return fmt.Sprintf("%s-%s", strings.ReplaceAll(t.Name(), "/", "-"), uuid.NewString()[:8])
}

// A consumer is a subscriber with one subscription.
type consumer struct {
	t          *testing.T
	subscriber *brokertest.Subscriber
	messages   <-chan *brokertest.Message
}

func newConsumer(t *testing.T, b relay.Broker, group, topic string, ackWait time.Duration) *consumer {
	t.Helper()
	s := brokertest.NewSubscriber(b, relay.Group{Name: group, AckWait: ackWait, Workers: 1})
	messages, err := s.Subscribe(context.WithoutCancel(t.Context()), topic)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &consumer{t, s, messages}
}

// patience is for what should happen at once. It is long for a slow machine: all
// that it decides is when a test that hangs has failed.
const patience = time.Minute

func (c *consumer) next() *brokertest.Message {
	c.t.Helper()
	select {
	case m, ok := <-c.messages:
		require.True(c.t, ok, "the subscription has ended")
		return m
	case <-time.After(patience):
		c.t.Fatal("no message has arrived")
		return nil
	}
}

// close fails the test if Close takes long.
func (c *consumer) close() {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.subscriber.Close() }()
	select {
	case err := <-done:
		require.NoError(c.t, err)
	case <-time.After(patience):
		c.t.Fatal("Close hangs")
	}
}

func publish(t *testing.T, b relay.Broker, topic string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		require.NoError(t, b.Publish(t.Context(), topic, &relay.Message{ID: body, Body: []byte(body)}))
	}
}

// pending returns how many entries of a group are not acknowledged.
func pending(t *testing.T, client *goredis.Client, topic, group string) int64 {
	t.Helper()
	p, err := client.XPending(t.Context(), topic, group).Result()
	require.NoError(t, err)
	return p.Count
}
