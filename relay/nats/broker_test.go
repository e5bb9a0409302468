package nats_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/internal/testhook"
	relaynats "github.com/tidings-go/tidings/relay/nats"
)

// openBroker opens the broker of a URL, and closes it with the test.
func openBroker(t testing.TB, url string) relay.Broker {
	t.Helper()
	r := mustOpen(t, url)
	t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	return brokerOf(r)
}

// mustOpen opens a relay whose new groups get what a stream has, unless the URL
// says otherwise: most tests publish first.
func mustOpen(t testing.TB, url string) *relay.Relay {
	t.Helper()
	if !strings.Contains(url, "?") {
		url += "?deliver=all"
	}
	r, err := openRelay(t.Context(), url)
	require.NoError(t, err)
	return r
}

func openRelay(ctx context.Context, url string) (*relay.Relay, error) {
	return relay.Open(ctx, url, new(tidings.Registry), relay.WithLogger(slog.New(slog.DiscardHandler)))
}

func brokerOf(r *relay.Relay) relay.Broker { return testhook.Broker(r).(relay.Broker) }

// patience is how long to wait for what happens soon, unless something is broken
// or the machine is very busy.
const patience = time.Minute

// group returns a Group whose AckWait is over for no test: what comes again has
// been given back.
func group(name string) relay.Group {
	return relay.Group{Name: name, AckWait: 10 * patience, Workers: 1}
}

// queue returns the Group of a queue of a handler's own.
func queue(name string) relay.Group {
	g := group(name)
	g.Queue = true
	return g
}

// subscriber returns a subscriber that is closed with the test.
func subscriber(t testing.TB, b relay.Broker, g relay.Group) *brokertest.Subscriber {
	t.Helper()
	s := brokertest.NewSubscriber(b, g)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func subscribe(t testing.TB, s *brokertest.Subscriber, topic string) <-chan *brokertest.Message {
	t.Helper()
	messages, err := s.Subscribe(context.Background(), topic)
	require.NoError(t, err)
	return messages
}

// receive returns the next message, unacknowledged.
func receive(t testing.TB, messages <-chan *brokertest.Message) *brokertest.Message {
	t.Helper()
	select {
	case m, ok := <-messages:
		require.True(t, ok, "the subscription has ended")
		return m
	case <-time.After(patience):
		require.FailNow(t, "no message")
		return nil
	}
}

// publish publishes messages with the numbers as bodies.
func publish(t testing.TB, b relay.Broker, topic string, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		require.NoError(t, b.Publish(t.Context(), topic, &relay.Message{ID: fmt.Sprint("id-", n), Body: []byte(fmt.Sprint(n))}))
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	b := openBroker(t, s.url()+"?max_age=36h")
	initialize := func(group, topic string) {
		sub := subscriber(t, b, relay.Group{Name: group, AckWait: 45 * time.Second, Queue: topic == b.Topic(group)})
		require.NoError(t, sub.Declare(topic))
	}
	initialize("mail", b.Topic("orders.placed"))
	initialize("mail.retry", b.Topic("mail.retry"))
	require.NoError(t, b.Publish(t.Context(), b.Topic("orders.paid"), &relay.Message{ID: "1"}))

	stream := func(name string) jetstream.StreamConfig {
		st, err := js.Stream(t.Context(), name)
		require.NoError(t, err)
		return st.CachedInfo().Config
	}
	for _, name := range []string{"orders~placed", "orders~paid"} {
		c := stream(name)
		require.Equal(t, jetstream.LimitsPolicy, c.Retention)
		require.Equal(t, jetstream.FileStorage, c.Storage)
		require.Equal(t, 36*time.Hour, c.MaxAge)
		require.Equal(t, 1, c.Replicas)
	}
	require.Equal(t, []string{"orders.placed"}, stream("orders~placed").Subjects)

	queue := stream("mail~retry")
	require.Equal(t, jetstream.WorkQueuePolicy, queue.Retention, "what is to be tried again is deleted once that is done")
	require.Zero(t, queue.MaxAge, "and kept until then")

	consumer, err := js.Consumer(t.Context(), "orders~placed", "mail")
	require.NoError(t, err)
	require.Equal(t, jetstream.AckExplicitPolicy, consumer.CachedInfo().Config.AckPolicy)
	require.Equal(t, 45*time.Second, consumer.CachedInfo().Config.AckWait)
	require.Equal(t, "mail", consumer.CachedInfo().Config.Durable)
}

// An operator may have made the stream, with other settings.
func TestExistingStreamIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders~placed", Subjects: []string{"orders.placed"}, MaxMsgs: 7, MaxAge: time.Hour})
	require.NoError(t, err)
	b := openBroker(t, s.url())
	messages := subscribe(t, subscriber(t, b, group("mail")), "orders.placed")
	publish(t, b, "orders.placed", 1, 1)
	receive(t, messages).Ack()
	st, err := js.Stream(t.Context(), "orders~placed")
	require.NoError(t, err)
	require.EqualValues(t, 7, st.CachedInfo().Config.MaxMsgs)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	_, err := relaynats.New(relaynats.Config{})
	require.ErrorContains(t, err, "Config.JetStream")
}

// Without settings, New makes what Open does.
func TestNewWithDefaults(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	given, err := relaynats.New(relaynats.Config{JetStream: js})
	require.NoError(t, err)
	opened := openPlain(t, s.url())
	for topic, b := range map[string]relay.Broker{"given": given, "opened": opened} {
		subscribe(t, subscriber(t, b, group("mail")), topic)
	}
	streamOf := func(topic string) jetstream.StreamConfig {
		st, err := js.Stream(t.Context(), topic)
		require.NoError(t, err)
		c := st.CachedInfo().Config
		c.Name, c.Subjects = "", nil
		return c
	}
	consumerOf := func(topic string) jetstream.ConsumerConfig {
		consumer, err := js.Consumer(t.Context(), topic, "mail")
		require.NoError(t, err)
		return consumer.CachedInfo().Config
	}
	require.Equal(t, streamOf("opened"), streamOf("given"))
	require.Equal(t, consumerOf("opened"), consumerOf("given"))
	require.NoError(t, given.Close())
}

func TestNewWithOwnConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, js := s.client()
	b, err := relaynats.New(relaynats.Config{
		JetStream: js,
		Stream:    &jetstream.StreamConfig{MaxAge: time.Hour, MaxBytes: 1 << 20},
		Consumer:  &jetstream.ConsumerConfig{MaxAckPending: 5},
	})
	require.NoError(t, err)
	messages := subscribe(t, subscriber(t, b, group("mail")), "orders.placed")
	publish(t, b, "orders.placed", 1, 1)
	receive(t, messages).Ack()
	st, err := js.Stream(t.Context(), "orders~placed")
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, st.CachedInfo().Config.MaxBytes)
	consumer, err := js.Consumer(t.Context(), "orders~placed", "mail")
	require.NoError(t, err)
	require.Equal(t, 5, consumer.CachedInfo().Config.MaxAckPending)
	require.NoError(t, b.Close())
	require.True(t, conn.IsConnected(), "it belongs to the caller")
}

func TestTopics(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	_, js := s.client()
	for _, c := range []struct{ name, topic, stream, reason string }{
		{"orders.placed", "orders.placed", "orders~placed", "the usual"},
		{"Orders-2_x", "Orders-2_x", "Orders-2_x", "nothing to escape"},
		{"a/b:c", "a/b:c", "a%2Fb%3Ac", "fine in a subject, not in a directory"},
		{".a..b.", "%2Ea.%2Eb%2E", "%252Ea~%252Eb%252E", "no empty tokens"},
		{"caf\u00e9", "caf%C3%A9", "caf%25C3%25A9", "bytes"},
		{"a b*>", "a%20b%2A%3E", "a%2520b%252A%253E", "blanks and wildcards, which a Prefix may have"},
	} {
		require.Equal(t, c.topic, b.Topic(c.name), c.reason)
		publish(t, b, c.topic, 1, 1)
		_, err := js.Stream(t.Context(), c.stream)
		require.NoError(t, err, c.reason)
	}
	for _, topic := range []string{"", "a b", "a..b", ".a", "a.*", "a.>"} {
		require.ErrorContains(t, b.Publish(t.Context(), topic, &relay.Message{ID: "1"}), "is not a valid NATS subject", "a topic that relay.WithTopics has set")
	}
}

func TestTopicsAreDistinct(t *testing.T) {
	t.Parallel()
	b := openBroker(t, startServer(t).url())
	seen := map[string]string{}
	const alphabet = "aA._/:-%"
	var try func(name string, left int)
	try = func(name string, left int) {
		topic := b.Topic(name)
		other, taken := seen[topic]
		require.False(t, taken, "%q and %q are both %q", name, other, topic)
		seen[topic] = name
		for i := 0; left > 0 && i < len(alphabet); i++ {
			try(name+alphabet[i:i+1], left-1)
		}
	}
	for i := range alphabet {
		try(alphabet[i:i+1], 3)
	}
}

func TestLongNames(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	long := ""
	for len(long) < 200 {
		long += "a.b/c:"
	}
	for _, name := range []string{long, long + "1", long + "2"} {
		topic := b.Topic(name)
		messages := subscribe(t, subscriber(t, b, group(name+".g")), topic)
		require.NoError(t, b.Publish(t.Context(), topic, &relay.Message{ID: name}))
		m := receive(t, messages)
		require.Equal(t, name, m.ID)
		m.Ack()
	}
}
