package amqp_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// Not parallel, so that the goroutines of other tests do not count.
func TestNoGoroutineIsLeftBehind(t *testing.T) {
	u := serverURL(t)
	for range 3 {
		b := newBroker(t, u, amqp.Config{})
		topic := newName()
		s := subscriber(t, b, "group")
		messages := subscribe(t, s, topic)
		publish(t, b, topic, "one", "two")
		receive(t, messages).Ack()
		receive(t, messages) // in flight
		require.NoError(t, s.Close())
		require.NoError(t, b.Close())
	}
	require.Eventually(t, func() bool {
		left := goroutines()
		return !strings.Contains(left, "amqp091") && !strings.Contains(left, "relay/amqp.")
	}, time.Minute, 10*time.Millisecond)
}

func goroutines() string {
	var text strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&text, 2)
	return text.String()
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, message, reason string }{
		{"amqp://h?prefetch=0", `prefetch="0"`, "0 is no limit in AMQP, and a worker would fetch all there is"},
		{"amqp://h?prefetch=70000", "between 1 and 65535", "it has 16 bits in AMQP"},
		{"amqp://h?queue_type=stream", `queue_type="stream"`, "a stream gives all messages to everybody"},
		{"amqp://h?heartbeat=5", `"heartbeat"`, "a parameter of other clients is not ignored"},
		{"amqp:///vhost", "no host", ""},
		{"amqp://h/a/b", "%2F", "the client library takes b away, others do not"},
	} {
		_, err := relay.Open(t.Context(), test.url, &tidings.Registry{})
		require.ErrorContains(t, err, test.message, test.reason)
		require.NotErrorAs(t, err, new(*relay.UnreachableError))
	}
}

func TestOpenUnreachable(t *testing.T) {
	t.Parallel()
	silent := listen(t)
	defer func() { require.NoError(t, silent.Close()) }()
	nobody := fmt.Sprintf("127.0.0.1:%d", testport.Reserve(t))
	for _, address := range []string{silent.Addr().String(), nobody} {
		for _, scheme := range []string{"amqp", "amqps"} {
			ctx, cancel := context.WithCancel(t.Context())
			stop := time.AfterFunc(200*time.Millisecond, cancel)
			_, err := relay.Open(ctx, scheme+"://user:s3cret@"+address, &tidings.Registry{})
			stop.Stop()
			cancel()
			require.ErrorAs(t, err, new(*relay.UnreachableError))
			require.NotContains(t, err.Error(), "s3cret")
			if address != nobody {
				require.ErrorIs(t, err, context.Canceled, "it ends with ctx, and not by a time limit of its own")
			}
		}
	}
}

func TestOpenWithWrongCredentials(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(serverURL(t))
	require.NoError(t, err)
	for _, change := range []func(*url.URL){
		func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wr0ng") },
		func(u *url.URL) { u.Path = "/no-such-vhost" },
	} {
		wrong := *u
		change(&wrong)
		_, err = open(t, wrong.String(), &tidings.Registry{})
		require.ErrorAs(t, err, new(*relay.UnreachableError))
		require.ErrorContains(t, err, "403")
		require.NotContains(t, err.Error(), "wr0ng")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dial := func(context.Context) (*amqp091.Connection, error) { return nil, context.Canceled }
	for _, tt := range []struct {
		message string
		config  amqp.Config
	}{
		{"nil Config.Dial", amqp.Config{}},
		{`must be "classic" or "quorum"`, amqp.Config{Dial: dial, QueueType: "stream"}},
		{"between 1 and 655", amqp.Config{Dial: dial, Prefetch: -1}},
	} {
		_, err := amqp.New(tt.config)
		require.ErrorContains(t, err, tt.message)
	}
}

func TestTopic(t *testing.T) {
	t.Parallel()
	b := newBroker(t, "amqp://127.0.0.1:1/", amqp.Config{})
	long := strings.Repeat("a", 300)
	for _, test := range []struct{ name, topic, reason string }{
		{"billing.invoice_sent", "billing.invoice_sent", "names are kept"},
		{"a/b:c-d_E9", "a/b:c-d_E9", "all that names are made of is allowed"},
		{"amq.fanout", "~amq.fanout", "the server would refuse"},
		{"amqx", "amqx", ""},
	} {
		require.Equal(t, test.topic, b.Topic(test.name), test.reason)
	}
	require.Len(t, b.Topic(long), 255)
	require.NotEqual(t, b.Topic(long), b.Topic(long+"b"))
}

// newBroker returns a broker that connects as that of relay.Open does, and is
// closed with the test.
func newBroker(t *testing.T, url string, config amqp.Config) relay.Broker {
	t.Helper()
	var err error
	config.Dial, err = amqp.Dial(url)
	require.NoError(t, err)
	b, err := amqp.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func newName() string { return "t." + strings.ToLower(rand.Text()[:12]) }

func subscriber(t *testing.T, b relay.Broker, group string) *brokertest.Subscriber {
	t.Helper()
	s := brokertest.NewSubscriber(b, relay.Group{Name: group, AckWait: time.Minute, Workers: 1})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func subscribe(t *testing.T, s *brokertest.Subscriber, topic string) <-chan *brokertest.Message {
	t.Helper()
	var messages <-chan *brokertest.Message
	require.NoError(t, patiently(t, func() (err error) {
		messages, err = s.Subscribe(context.WithoutCancel(t.Context()), topic)
		return err
	}))
	return messages
}

// publish publishes messages with these bodies.
func publish(t *testing.T, b relay.Broker, topic string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		m := &relay.Message{ID: uuid.NewString(), Body: []byte(body)}
		require.NoError(t, patiently(t, func() error { return b.Publish(t.Context(), topic, m) }))
	}
}

// patiently calls f until that ends otherwise than by a time limit of the broker,
// which a server may miss whose machine has much else to do.
func patiently(t *testing.T, f func() error) error {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		err := f()
		late := errors.Is(err, amqp.ErrUnanswered) || errors.Is(err, context.DeadlineExceeded)
		if !late || time.Now().After(deadline) {
			return err
		}
		t.Log("once again: ", err)
	}
}

// open is relay.Open.
func open(t *testing.T, url string, registry *tidings.Registry, opts ...relay.Option) (r *relay.Relay, err error) {
	t.Helper()
	err = patiently(t, func() error {
		r, err = relay.Open(t.Context(), url, registry, opts...)
		return err
	})
	return r, err
}

// receive returns the next message.
func receive(t *testing.T, messages <-chan *brokertest.Message) *brokertest.Message {
	t.Helper()
	select {
	case m, ok := <-messages:
		require.True(t, ok, "the subscription has ended")
		return m
	case <-time.After(time.Minute):
		require.FailNow(t, "no message arrives")
		return nil
	}
}

// receiveNone checks that nothing arrives, as far as one can wait for nothing.
func receiveNone(t *testing.T, messages <-chan *brokertest.Message) {
	t.Helper()
	select {
	case m, ok := <-messages:
		require.False(t, ok, "%v", fmt.Sprint(m))
	case <-time.After(300 * time.Millisecond):
	}
}
