package amqp_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testproxy"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// ends is how long a call may take in whatever state the server is in, on a slow
// machine. On a fast one it is some ten seconds; without a limit it is for ever.
const ends = amqp.AnswerWithin + 30*time.Second

// inTime calls what a relay calls of a broker, all at the same time, and checks
// that each call ends.
func inTime(t *testing.T, b relay.Broker, s *brokertest.Subscriber, topic string, state string) {
	t.Helper()
	calls := map[string]func() error{
		"Publish": func() error { return b.Publish(t.Context(), topic, &relay.Message{Body: []byte("body")}) },
		"Publish on a new topic": func() error {
			return b.Publish(t.Context(), newName(), &relay.Message{Body: []byte("body")})
		},
		"Enqueue": func() error {
			return b.Enqueue(t.Context(), relay.Group{Name: topic + ".retry", Queue: true}, &relay.Message{Body: []byte("body")})
		},
		"SubscribeInitialize": func() error { return s.Declare(topic) },
		"Subscribe": func() error {
			_, err := s.Subscribe(t.Context(), topic)
			return err
		},
	}
	var all sync.WaitGroup
	for name, call := range calls {
		all.Go(func() {
			began := time.Now()
			err := call()
			if took := time.Since(began); took > ends {
				t.Errorf("%s: %s took %v: %v", state, name, took, err)
			}
		})
	}
	all.Wait()
}

// closeInTime closes all, and checks how long that takes.
func closeInTime(t *testing.T, b relay.Broker, s *brokertest.Subscriber, state string) {
	t.Helper()
	began := time.Now()
	assert.NoError(t, s.Close())
	assert.NoError(t, b.Close())
	took := time.Since(began)
	assert.Less(t, took, ends, state)
	t.Logf("%s: closed in %v", state, took)
}

// A client is a broker that was used before something happens to its server.
type client struct {
	t          *testing.T
	broker     relay.Broker
	subscriber *brokertest.Subscriber
	topic      string
	messages   <-chan *brokertest.Message
	inFlight   *brokertest.Message
}

func inUse(t *testing.T, url string) *client {
	t.Helper()
	b, topic := newBroker(t, url, amqp.Config{}), newName()
	s := subscriber(t, b, "group")
	messages := subscribe(t, s, topic)
	publish(t, b, topic, "before")
	return &client{t, b, s, topic, messages, receive(t, messages)}
}

func (c *client) inTime(state string) {
	c.t.Helper()
	inTime(c.t, c.broker, c.subscriber, c.topic, state)
}

func (c *client) closeInTime(state string) {
	c.t.Helper()
	closeInTime(c.t, c.broker, c.subscriber, state)
}

// goesOn waits until the client works again.
func (c *client) goesOn() {
	c.t.Helper()
	c.inFlight.Ack()
	accept(c.t, c.broker, c.topic, "after")
	for m := receive(c.t, c.messages); string(m.Body) != "after"; m = receive(c.t, c.messages) {
		m.Ack()
	}
}

// atOnce runs a subtest that does little but wait, and that is not to wait for
// other tests to end as one that calls Parallel does.
func atOnce(t *testing.T, all *sync.WaitGroup, name string, test func(*testing.T)) {
	all.Go(func() { t.Run(name, test) })
}

// A network that loses bytes in one direction or in both, after the connection
// was used.
func TestNetworkLosesBytes(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	var all sync.WaitGroup
	defer all.Wait()
	for _, test := range []struct{ toServer, fromServer bool }{{true, true}, {true, false}, {false, true}} {
		state := fmt.Sprintf("to the server %v, from it %v", test.toServer, test.fromServer)
		atOnce(t, &all, state, func(t *testing.T) {
			p, throughProxy := newProxy(t, u, nil)
			one, other := inUse(t, throughProxy), inUse(t, throughProxy)
			p.FilterOpen(testproxy.Losing(test.toServer, test.fromServer))
			var closed sync.WaitGroup
			defer closed.Wait()
			closed.Go(func() { other.closeInTime(state) })
			one.inTime(state)
			one.goesOn() // on a new connection
		})
	}
}

// A server that accepts connections and says nothing.
func TestServerSaysNothing(t *testing.T) {
	t.Parallel()
	silent := listen(t)
	defer func() { require.NoError(t, silent.Close()) }()
	b := newBroker(t, "amqp://"+silent.Addr().String()+"/", amqp.Config{})
	s := subscriber(t, b, "group")
	inTime(t, b, s, newName(), "says nothing")
	closeInTime(t, b, s, "says nothing")

	other := listen(t)
	defer func() { require.NoError(t, other.Close()) }()
	b = newBroker(t, "amqp://"+other.Addr().String()+"/", amqp.Config{})
	go func() { _ = b.Publish(t.Context(), "topic", &relay.Message{}) }()
	conn, err := other.Accept()
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	closeInTime(t, b, subscriber(t, b, "group"), "says nothing while it is connected to")
}

// What a server does that others cannot share: it has little room for a message,
// it is short of memory, and it is stopped.
func TestServerInTrouble(t *testing.T) {
	t.Parallel()
	t.Run("a message is too large", func(t *testing.T) {
		server := onChild(t, troubled, t.Name())
		b, topic := newBroker(t, server.url(), amqp.Config{}), newName()
		messages := subscribe(t, subscriber(t, b, "group"), topic)
		var others sync.WaitGroup
		var published, rounds atomic.Int64
		done := make(chan struct{})
		for range 4 {
			others.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					if err := b.Publish(t.Context(), topic, &relay.Message{ID: uuid.NewString(), Body: []byte("small")}); err != nil {
						t.Error("others are not disturbed:", err)
						return
					}
					published.Add(1)
				}
			})
		}
		large := &relay.Message{Body: bytes.Repeat([]byte("x"), maxSize+1)}
		group := relay.Group{Name: topic + ".dead", Queue: true}
		for range 3 {
			before := published.Load()
			require.ErrorIs(t, b.Publish(t.Context(), topic, large), relay.ErrTooLarge)
			require.ErrorIs(t, b.Enqueue(t.Context(), group, large), relay.ErrTooLarge)
			require.Eventually(t, func() bool { return published.Load() > before+20 }, time.Minute, time.Millisecond)
			rounds.Add(1)
		}
		close(done)
		others.Wait()
		large.Body = large.Body[:maxSize]
		require.NoError(t, b.Enqueue(t.Context(), group, large), "the largest that there may be")
		for range published.Load() {
			receive(t, messages).Ack()
		}
	})

	t.Run("memory alarm", func(t *testing.T) {
		server := onChild(t, troubled, t.Name())
		one, other := inUse(t, server.url()), inUse(t, server.url())
		one.inFlight.Ack()
		b, s, topic := one.broker, one.subscriber, one.topic
		server.ctl(t, "set_vm_memory_high_watermark", "0.000001")
		over := sync.OnceFunc(func() { server.ctl(t, "set_vm_memory_high_watermark", "0.4") })
		defer over()
		var all sync.WaitGroup
		defer all.Wait()
		blocked := func(call func() error) {
			all.Go(func() {
				began := time.Now()
				err := call()
				assert.ErrorContains(t, err, "blocked")
				assert.ErrorContains(t, err, "memory")
				assert.Less(t, time.Since(began), ends)
			})
		}
		early := func(c *client) (err error) { // a connection that publishes is told
			for err == nil {
				err = c.broker.Publish(t.Context(), c.topic, &relay.Message{Body: []byte("early")})
			}
			return err
		}
		blocked(func() error { return early(one) })
		all.Go(func() { _ = early(other) }) // which is closed meanwhile
		require.Eventually(t, func() bool { return amqp.IsBlocked(one.broker) && amqp.IsBlocked(other.broker) }, time.Minute, time.Millisecond)
		for range 8 { // what is under way when it is closed
			all.Go(func() { _ = other.broker.Publish(t.Context(), other.topic, &relay.Message{}) })
		}
		all.Go(func() { other.closeInTime("memory alarm") })
		blocked(func() error { return b.Publish(t.Context(), topic, &relay.Message{Body: []byte("never written")}) })
		blocked(func() error { return b.Publish(t.Context(), newName(), &relay.Message{}) })
		blocked(func() error {
			return b.Enqueue(t.Context(), relay.Group{Name: topic + ".retry", Queue: true}, &relay.Message{})
		})
		initialize(t, s, topic) // on the other connection, which goes on
		all.Wait()
		waiting, began := make(chan error, 1), time.Now()
		go func() { waiting <- b.Publish(t.Context(), topic, &relay.Message{Body: []byte("waits")}) }()
		over()
		short := time.Since(began) < amqp.AnswerWithin/2 // rabbitmqctl may be slow
		if err := <-waiting; short {
			require.NoError(t, err, "the alarm was short")
		} else if err != nil {
			accept(t, b, topic, "waits")
		}
		for body := ""; body != "waits"; {
			m := receive(t, one.messages)
			body = string(m.Body)
			require.NotEqual(t, "never written", body)
			m.Ack()
		}
	})

	t.Run("stopped", func(t *testing.T) {
		server := onChild(t, troubled, t.Name())
		one, other := inUse(t, server.url()), inUse(t, server.url())
		b := newBroker(t, server.url(), amqp.Config{})
		s := subscriber(t, b, "group")
		server.signal(t, syscall.SIGSTOP)
		goesOn := sync.OnceFunc(func() { server.signal(t, syscall.SIGCONT) })
		defer goesOn()
		var all sync.WaitGroup
		all.Go(func() { other.closeInTime("stopped") })
		all.Go(func() { one.inTime("stopped") })
		all.Go(func() { inTime(t, b, s, newName(), "stopped, and not connected yet") })
		all.Wait()
		goesOn()
		one.goesOn()
	})
}

// What never can be sent is said at once, as what it is.
func TestWhatCanNeverBeSent(t *testing.T) {
	t.Parallel()
	b := newBroker(t, serverURL(t), amqp.Config{})
	group := relay.Group{Name: newName(), Queue: true}
	metadata := func(key, value string) *relay.Message {
		return &relay.Message{Metadata: map[string]string{key: value}}
	}
	tooLarge := metadata("k", strings.Repeat("l", 130<<10))
	require.ErrorIs(t, b.Publish(t.Context(), group.Name, tooLarge), relay.ErrTooLarge)
	require.ErrorIs(t, b.Enqueue(t.Context(), group, tooLarge), relay.ErrTooLarge)
	for _, err := range []error{
		b.Publish(t.Context(), group.Name, metadata(strings.Repeat("k", 256), "v")),
		b.Publish(t.Context(), "", &relay.Message{}),
		b.Publish(t.Context(), strings.Repeat("t", 256), &relay.Message{}),
		b.Enqueue(t.Context(), group, metadata(strings.Repeat("k", 256), "v")),
	} {
		var permanent interface{ Permanent() bool }
		require.ErrorAs(t, err, &permanent)
		require.True(t, permanent.Permanent())
	}
	require.NoError(t, b.Enqueue(t.Context(), group, metadata("\x00", "\x00\xff"), &relay.Message{ID: strings.Repeat("i", 300), Body: []byte{0}}), "AMQP has no objections")
}
