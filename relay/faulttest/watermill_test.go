package faulttest_test

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wmamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	wmjetstream "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill-redisstream/pkg/redisstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/internal/testhook"
)

// Programs with an adapter of Watermill may be at the other end of RabbitMQ, NATS
// and Redis: each understands the messages of the other. The tests are here, so
// that nobody who uses these brokers depends on Watermill.

// brokerAt opens a broker, and returns what a group receives on a topic.
func brokerAt(t *testing.T, url, group, topic string) (relay.Broker, <-chan *brokertest.Message) {
	t.Helper()
	r, err := relay.Open(t.Context(), url, new(tidings.Registry), relay.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close(context.Background())) })
	b := testhook.Broker(r).(relay.Broker)
	if group == "" {
		return b, nil
	}
	s := brokertest.NewSubscriber(b, relay.Group{Name: group, AckWait: time.Minute, Workers: 1})
	messages, err := s.Subscribe(t.Context(), topic)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return b, messages
}

func receive[M any](t *testing.T, messages <-chan M) M {
	t.Helper()
	select {
	case m, ok := <-messages:
		require.True(t, ok, "the subscription has ended")
		return m
	case <-time.After(patience):
		require.FailNow(t, "no message has arrived")
		panic("unreachable")
	}
}

// serviceURL returns the URL of a server that scripts/services starts.
func serviceURL(t *testing.T, variable string) string {
	t.Helper()
	url := os.Getenv(variable)
	if url == "" {
		unavailable(t, variable+` is not set: scripts/services up, then eval "$(scripts/services env)"`)
	}
	return url
}

// toWatermill returns a message as Watermill has it.
func toWatermill(m *relay.Message) *message.Message {
	out := message.NewMessage(m.ID, m.Body)
	out.Metadata = maps.Clone(m.Metadata)
	return out
}

func fromWatermill(m *message.Message) *relay.Message {
	return &relay.Message{ID: m.UUID, Body: m.Payload, Metadata: m.Metadata}
}

func TestWatermillOnRabbitMQ(t *testing.T) {
	t.Parallel()
	url, topic := serviceURL(t, "TIDINGS_RABBITMQ_URL"), "t."+uuid.NewString()
	b, _ := brokerAt(t, url, "", topic)
	config := wmamqp.NewDurablePubSubConfig(url, func(topic string) string { return "group@" + topic })
	config.Queue.Arguments = amqp091.Table{"x-queue-type": "classic"}
	theirs, err := wmamqp.NewSubscriber(config, watermill.NopLogger{})
	require.NoError(t, err)
	adapter, err := wmamqp.NewPublisher(config, watermill.NopLogger{})
	require.NoError(t, err)
	messages, err := theirs.Subscribe(context.WithoutCancel(t.Context()), topic)
	require.NoError(t, err)

	sent := &relay.Message{ID: "an id", Body: []byte("body"), Metadata: map[string]string{"k": "v"}}
	require.NoError(t, b.Publish(t.Context(), topic, sent))
	m := receive(t, messages)
	require.Equal(t, sent, fromWatermill(m))
	m.Ack()
	require.NoError(t, theirs.Close())

	require.NoError(t, adapter.Publish(topic, toWatermill(sent)))
	_, ours := brokerAt(t, url, "group", topic)
	got := receive(t, ours)
	require.Equal(t, sent, got.Message)
	got.Ack()
	require.NoError(t, adapter.Close())
}

func TestWatermillOnNATS(t *testing.T) {
	t.Parallel()
	s := brokers["NATS"](t)
	b, messages := brokerAt(t, s.url(), "g", "topic")
	conn, err := nats.Connect(s.url())
	require.NoError(t, err)
	t.Cleanup(conn.Close)

	adapter, err := wmjetstream.NewPublisher(wmjetstream.PublisherConfig{Conn: conn})
	require.NoError(t, err)
	sent := &relay.Message{ID: "id", Body: []byte("body"), Metadata: map[string]string{"k": "v"}}
	require.NoError(t, adapter.Publish("topic", toWatermill(sent)))
	got := receive(t, messages)
	require.Equal(t, sent, got.Message)
	got.Ack()

	require.NoError(t, b.Publish(t.Context(), "topic", sent))
	receive(t, messages).Ack()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), "topic")
	require.NoError(t, err)
	raw, err := stream.GetMsg(t.Context(), 2)
	require.NoError(t, err)
	read, err := wmjetstream.DefaultUnmarshaler{}.Unmarshal(stored{data: raw.Data, header: raw.Header})
	require.NoError(t, err)
	require.Equal(t, sent, fromWatermill(read))
}

// stored is a message as a stream has it.
type stored struct {
	jetstream.Msg
	data   []byte
	header nats.Header
}

func (s stored) Data() []byte         { return s.data }
func (s stored) Headers() nats.Header { return s.header }

func TestWatermillOnRedis(t *testing.T) {
	t.Parallel()
	messages := map[string]map[string]string{
		"none": {},
		"few":  {"a": "b", "": "", "long": strings.Repeat("x", 300), "longer": strings.Repeat("y", 70_000)},
		"many": {},
	}
	for n := range 40 {
		messages["many"][strings.Repeat("k", n+1)] = strings.Repeat("v", n)
	}
	url, topic := serviceURL(t, "TIDINGS_REDIS_URL"), "t-"+uuid.NewString()
	b, ours := brokerAt(t, url, "ours", topic)
	options, err := goredis.ParseURL(url)
	require.NoError(t, err)
	client := goredis.NewClient(options)
	publisher, err := redisstream.NewPublisher(redisstream.PublisherConfig{Client: client}, watermill.NopLogger{})
	require.NoError(t, err)
	theirs, err := redisstream.NewSubscriber(redisstream.SubscriberConfig{Client: client, ConsumerGroup: "theirs"}, watermill.NopLogger{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	received, err := theirs.Subscribe(ctx, topic)
	require.NoError(t, err)

	for id, metadata := range messages {
		sent := &relay.Message{ID: id, Body: []byte("body of " + id), Metadata: metadata}
		for _, publish := range []func() error{
			func() error { return publisher.Publish(topic, toWatermill(sent)) },
			func() error { return b.Publish(t.Context(), topic, sent) },
		} {
			require.NoError(t, publish())
			got := receive(t, ours)
			require.Equal(t, sent, got.Message)
			require.True(t, got.Ack())
			m := receive(t, received)
			require.Equal(t, sent, fromWatermill(m))
			require.True(t, m.Ack())
		}
	}
	require.Eventually(t, func() bool {
		pending, err := client.XPending(t.Context(), topic, "theirs").Result()
		return err == nil && pending.Count == 0
	}, patience, 10*time.Millisecond)
	cancel()
	for range received { // its goroutines use the client
	}
	require.NoError(t, publisher.Close())
}
