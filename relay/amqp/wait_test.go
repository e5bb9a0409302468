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

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
)

// ends is how long a call may take in whatever state the server is in, on a slow
// machine. On a fast one it is some ten seconds; without a limit it is for ever.
const ends = amqp.AnswerWithin + 30*time.Second

// inTime calls what a relay calls of a broker, all at the same time, and checks
// that each call ends.
func inTime(t *testing.T, b relay.Broker, s message.Subscriber, topic string, state string) {
	t.Helper()
	calls := map[string]func() error{
		"Publish": func() error { return b.Publish(topic, message.NewMessage("", []byte("body"))) },
		"Publish on a new topic": func() error {
			return b.Publish(newName(), message.NewMessage("", []byte("body")))
		},
		"Enqueue": func() error {
			return b.Enqueue(relay.Group{Name: topic + ".retry", Queue: true}, message.NewMessage("", []byte("body")))
		},
		"SubscribeInitialize": func() error { return s.(message.SubscribeInitializer).SubscribeInitialize(topic) },
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
func closeInTime(t *testing.T, b relay.Broker, s message.Subscriber, state string) {
	t.Helper()
	began := time.Now()
	require.NoError(t, s.Close())
	require.NoError(t, b.Close())
	took := time.Since(began)
	require.Less(t, took, ends, state)
	t.Logf("%s: closed in %v", state, took)
}

// A network that loses bytes in one direction or in both, after the connection
// was used.
func TestNetworkLosesBytes(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	for _, test := range []struct{ toServer, fromServer bool }{{true, true}, {true, false}, {false, true}} {
		state := fmt.Sprintf("to the server %v, from it %v", test.toServer, test.fromServer)
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, listen(t), u)
			b, topic := newBroker(t, p.url(u), amqp.Config{}), newName()
			s := subscriber(t, b, "group")
			messages := subscribe(t, s, topic)
			publish(t, b, topic, "before")
			inFlight := receive(t, messages)
			p.swallow(test.toServer, test.fromServer)
			inTime(t, b, s, topic, state)
			inFlight.Ack()
			accept(t, b, topic, "after") // on a new connection
			for m := receive(t, messages); string(m.Payload) != "after"; m = receive(t, messages) {
				m.Ack()
			}
			p.swallow(test.toServer, test.fromServer)
			closeInTime(t, b, s, state)
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
	go func() { _ = b.Publish("topic", message.NewMessage("", nil)) }()
	conn, err := other.Accept()
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	closeInTime(t, b, subscriber(t, b, "group"), "says nothing while it is connected to")
}

// What a server does that others cannot share: it has little room for a message,
// it is short of memory, and it is stopped.
func TestServerInTrouble(t *testing.T) {
	t.Parallel()
	const maxSize = 1_000_000
	server := startChild(t, fmt.Sprintf("max_message_size = %d", maxSize))

	t.Run("a message is too large", func(t *testing.T) {
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
					if err := b.Publish(topic, message.NewMessage(uuid.NewString(), []byte("small"))); err != nil {
						t.Error("others are not disturbed:", err)
						return
					}
					published.Add(1)
				}
			})
		}
		large := message.NewMessage("", bytes.Repeat([]byte("x"), maxSize+1))
		group := relay.Group{Name: topic + ".dead", Queue: true}
		for range 3 {
			before := published.Load()
			require.ErrorIs(t, b.Publish(topic, large), relay.ErrTooLarge)
			require.ErrorIs(t, b.Enqueue(group, large), relay.ErrTooLarge)
			require.Eventually(t, func() bool { return published.Load() > before+20 }, 30*time.Second, time.Millisecond)
			rounds.Add(1)
		}
		close(done)
		others.Wait()
		large.Payload = large.Payload[:maxSize]
		require.NoError(t, b.Enqueue(group, large), "the largest that there may be")
		for range published.Load() {
			receive(t, messages).Ack()
		}
	})

	t.Run("memory alarm", func(t *testing.T) {
		b, topic := newBroker(t, server.url(), amqp.Config{}), newName()
		s := subscriber(t, b, "group")
		messages := subscribe(t, s, topic)
		publish(t, b, topic, "before")
		receive(t, messages).Ack()
		blocked := func(call func() error) {
			began := time.Now()
			err := call()
			assert.ErrorContains(t, err, "blocked")
			assert.ErrorContains(t, err, "memory")
			assert.Less(t, time.Since(began), ends)
		}
		alarm := func() { // which takes a moment
			server.ctl("set_vm_memory_high_watermark", "0.000001")
			blocked(func() (err error) {
				for err == nil {
					err = b.Publish(topic, message.NewMessage("", []byte("early")))
				}
				return err
			})
		}
		alarm()
		defer server.ctl("set_vm_memory_high_watermark", "0.4")
		var all sync.WaitGroup
		for _, call := range []func() error{
			func() error { return b.Publish(topic, message.NewMessage("", []byte("never written"))) },
			func() error { return b.Publish(newName(), message.NewMessage("", nil)) },
			func() error {
				return b.Enqueue(relay.Group{Name: topic + ".retry", Queue: true}, message.NewMessage("", nil))
			},
		} {
			all.Go(func() { blocked(call) })
		}
		all.Wait()
		initialize(t, s, topic) // on the other connection, which goes on
		waiting := make(chan error)
		go func() { waiting <- b.Publish(topic, message.NewMessage("", []byte("waits"))) }()
		server.ctl("set_vm_memory_high_watermark", "0.4")
		require.NoError(t, <-waiting, "the alarm was short")
		for body := ""; body != "waits"; {
			m := receive(t, messages)
			body = string(m.Payload)
			require.NotEqual(t, "never written", body)
			m.Ack()
		}
		alarm()
		for range 8 { // what is under way when it is closed
			go func() { _ = b.Publish(topic, message.NewMessage("", nil)) }()
		}
		closeInTime(t, b, s, "memory alarm")
	})

	t.Run("stopped", func(t *testing.T) {
		b, topic := newBroker(t, server.url(), amqp.Config{}), newName()
		s := subscriber(t, b, "group")
		messages := subscribe(t, s, topic)
		publish(t, b, topic, "before")
		inFlight := receive(t, messages)
		server.signal(syscall.SIGSTOP)
		goesOn := sync.OnceFunc(func() { server.signal(syscall.SIGCONT) })
		defer goesOn()
		inTime(t, b, s, topic, "stopped")
		other := newBroker(t, server.url(), amqp.Config{})
		inTime(t, other, subscriber(t, other, "group"), newName(), "stopped, and not connected yet")
		inFlight.Ack()
		goesOn()
		accept(t, b, topic, "after")
		for m := receive(t, messages); string(m.Payload) != "after"; m = receive(t, messages) {
			m.Ack()
		}
		server.signal(syscall.SIGSTOP)
		defer server.signal(syscall.SIGCONT)
		closeInTime(t, b, s, "stopped")
	})
}

// What never can be sent is said at once, as what it is.
func TestWhatCanNeverBeSent(t *testing.T) {
	t.Parallel()
	b := newBroker(t, serverURL(t), amqp.Config{})
	group := relay.Group{Name: newName(), Queue: true}
	metadata := func(key, value string) *message.Message {
		m := message.NewMessage("", nil)
		m.Metadata[key] = value
		return m
	}
	tooLarge := metadata("k", strings.Repeat("l", 130<<10))
	require.ErrorIs(t, b.Publish(group.Name, tooLarge), relay.ErrTooLarge)
	require.ErrorIs(t, b.Enqueue(group, tooLarge), relay.ErrTooLarge)
	for _, err := range []error{
		b.Publish(group.Name, metadata(strings.Repeat("k", 256), "v")),
		b.Publish("", message.NewMessage("", nil)),
		b.Publish(strings.Repeat("t", 256), message.NewMessage("", nil)),
		b.Enqueue(group, metadata(strings.Repeat("k", 256), "v")),
	} {
		var permanent interface{ Permanent() bool }
		require.ErrorAs(t, err, &permanent)
		require.True(t, permanent.Permanent())
	}
	require.NoError(t, b.Enqueue(group, metadata("\x00", "\x00\xff"), message.NewMessage(strings.Repeat("i", 300), []byte{0})), "AMQP has no objections")
}
