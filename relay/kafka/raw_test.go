package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/IBM/sarama"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/kafka"
)

// patience is how long to wait for what should happen soon, unless something is
// broken or the machine is very busy.
const patience = time.Minute

// soon is when a call has to end without a cluster. That is after ten seconds, by
// doc.go; the client library itself would wait for half a minute and more.
const soon = 30 * time.Second

// brokerOf opens a broker without a relay.
func brokerOf(t *testing.T, c *kfake.Cluster, partitions int32) relay.Broker {
	t.Helper()
	b, err := kafka.New(kafka.Config{Addrs: c.ListenAddrs(), Topic: sarama.TopicDetail{NumPartitions: partitions}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// subscriberOf opens a subscriber that is closed with the test.
func subscriberOf(t *testing.T, b relay.Broker, group relay.Group, topic string) *brokertest.Subscriber {
	t.Helper()
	s := brokertest.NewSubscriber(b, group)
	require.NoError(t, s.Declare(topic))
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func subscribe(t *testing.T, s *brokertest.Subscriber, topic string) <-chan *brokertest.Message {
	t.Helper()
	messages, err := s.Subscribe(context.WithoutCancel(t.Context()), topic)
	require.NoError(t, err)
	return messages
}

// receive returns the next message.
func receive(t *testing.T, messages <-chan *brokertest.Message) *brokertest.Message {
	t.Helper()
	select {
	case m, ok := <-messages:
		require.True(t, ok, "the subscription has ended")
		return m
	case <-time.After(patience):
		require.FailNow(t, "no message has arrived")
		return nil
	}
}

// foreign is a producer that knows nothing of tidings.
func foreign(t *testing.T, c *kfake.Cluster) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// Whatever another producer has written is handed on.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 1)
	messages := subscribe(t, subscriberOf(t, b, relay.Group{Name: "foreign"}, "t"), "t")
	tests := []struct {
		reason string
		record *kgo.Record
		want   *relay.Message
	}{
		{
			reason: "nothing but a body",
			record: &kgo.Record{Value: []byte("body")},
			want:   &relay.Message{Body: []byte("body")},
		},
		{
			reason: "an empty body",
			record: &kgo.Record{Value: []byte{}},
			want:   &relay.Message{},
		},
		{
			reason: "a tombstone, which has no body, only a key",
			record: &kgo.Record{Key: []byte("key"), Value: nil},
			want:   &relay.Message{Metadata: map[string]string{relay.PartitionKey: "key"}},
		},
		{
			reason: "binary all over, and headers without name, without value and twice",
			record: &kgo.Record{Key: []byte{0, 255}, Value: []byte{0, 255, 10}, Headers: []kgo.RecordHeader{
				{Key: "", Value: []byte{0, 255}}, {Key: "empty", Value: nil}, {Key: "twice", Value: []byte("1")}, {Key: "twice", Value: []byte("2")},
			}},
			want: &relay.Message{Body: []byte{0, 255, 10}, Metadata: map[string]string{
				"": "\x00\xff", "empty": "", "twice": "2", relay.PartitionKey: "\x00\xff",
			}},
		},
		{
			reason: "the binding of CloudEvents has another prefix than metadata, and its key counts",
			record: &kgo.Record{Key: []byte("other"), Value: []byte("{}"), Headers: []kgo.RecordHeader{
				{Key: "ce_type", Value: []byte("a")}, {Key: "ce_partitionkey", Value: []byte("key")}, {Key: "content-type", Value: []byte("b")},
			}},
			want: &relay.Message{Body: []byte("{}"), Metadata: map[string]string{"ce-type": "a", relay.PartitionKey: "key", "content-type": "b"}},
		},
		{
			reason: "the adapter of Watermill has the UUID in a header",
			record: &kgo.Record{Value: []byte("x"), Headers: []kgo.RecordHeader{{Key: "_watermill_message_uuid", Value: []byte("id")}}},
			want:   &relay.Message{ID: "id", Body: []byte("x")},
		},
	}
	client := foreign(t, c)
	for _, test := range tests {
		test.record.Topic = "t"
		require.NoError(t, client.ProduceSync(t.Context(), test.record).FirstErr(), test.reason)
	}
	for _, test := range tests {
		m := receive(t, messages)
		require.Equal(t, test.want.ID, m.ID, test.reason)
		require.Equal(t, string(test.want.Body), string(m.Body), test.reason)
		if len(test.want.Metadata) == 0 {
			require.Empty(t, m.Metadata, test.reason)
		} else {
			require.Equal(t, test.want.Metadata, m.Metadata, test.reason)
		}
		m.Ack()
	}
}

// What is written here is as others expect it: the attributes of CloudEvents have
// the prefix of the binding, and the key chooses the partition as in Java.
func TestWrittenForOthers(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 8)
	m := &relay.Message{ID: "id", Body: []byte("body")}
	m.Metadata = map[string]string{"ce-type": "a", relay.PartitionKey: "customer 7", "content-type": "b"}
	require.NoError(t, b.Publish(t.Context(), "t", m))

	client := foreign(t, c)
	client.AddConsumeTopics("t")
	mine := client.PollFetches(t.Context()).Records()
	require.Len(t, mine, 1)
	headers := map[string]string{}
	for _, h := range mine[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Equal(t, map[string]string{
		"_watermill_message_uuid": "id", "ce_type": "a", "ce_partitionkey": "customer 7", "content-type": "b",
	}, headers)
	require.Equal(t, "customer 7", string(mine[0].Key))
	theirs := kgo.Record{Topic: "t", Key: mine[0].Key} // its default partitioner is that of Java
	require.NoError(t, client.ProduceSync(t.Context(), &theirs).FirstErr())
	require.Equal(t, theirs.Partition, mine[0].Partition)
}

// A transaction that was aborted is never seen.
func TestAbortedTransaction(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 1)
	messages := subscribe(t, subscriberOf(t, b, relay.Group{Name: "careful"}, "t"), "t")
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("tx"))
	require.NoError(t, err)
	defer client.Close()
	for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		require.NoError(t, client.BeginTransaction())
		body := "aborted"
		if end == kgo.TryCommit {
			body = "committed"
		}
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte(body)}).FirstErr())
		require.NoError(t, client.EndTransaction(t.Context(), end))
	}
	m := receive(t, messages)
	require.Equal(t, "committed", string(m.Body))
	m.Ack()
}
