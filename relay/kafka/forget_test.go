package kafka_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidings-go/tidings/relay"
)

// The offsets of a topic begin with 0 again in another topic of its name. What is
// published there before the group looks again is not skipped.
func TestTopicIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason  string
		running bool // the consumer, when the topic is deleted
	}{
		{"while a consumer runs", true},
		{"while none runs", false},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			t.Parallel()
			c := cluster(t)
			b := brokerOf(t, c, 1)
			group := relay.Group{Name: "steady"}
			s := subscriberOf(t, b, group, "t")
			messages := subscribe(t, s, "t")
			publish(t, b, "t", 20)
			for range 20 {
				receive(t, messages).Ack()
			}
			if !tt.running {
				require.NoError(t, s.Close())
			}
			kept := committed(t, c, "steady")
			removeTopic(t, c, "t")
			restore(t, c, "steady", kept)

			// Somebody else is quicker than whoever misses the topic.
			other := brokerOf(t, c, 1)
			for n := range 50 {
				m := &relay.Message{ID: fmt.Sprint(n)}
				require.Eventually(t, func() bool { return other.Publish(t.Context(), "t", m) == nil }, time.Minute, 100*time.Millisecond)
			}
			if !tt.running {
				s = subscriberOf(t, b, group, "t")
				messages = subscribe(t, s, "t")
			}
			missing := map[string]bool{}
			for n := range 50 {
				missing[fmt.Sprint(n)] = true
			}
			for deadline := time.Now().Add(time.Minute); len(missing) > 0; {
				require.True(t, time.Now().Before(deadline), "not received: %v", missing)
				select {
				case m := <-messages:
					delete(missing, m.ID)
					m.Ack()
				case <-time.After(500 * time.Millisecond): // what a relay does now and then
					require.NoError(t, s.Declare("t"))
				}
			}
		})
	}
}

// committed returns what a group has committed of the topic t, with one
// partition.
func committed(t *testing.T, c *kfake.Cluster, group string) *sarama.OffsetFetchResponseBlock {
	t.Helper()
	admin, err := sarama.NewClusterAdmin(c.ListenAddrs(), sarama.NewConfig())
	require.NoError(t, err)
	defer admin.Close()
	var block *sarama.OffsetFetchResponseBlock
	require.Eventually(t, func() bool {
		offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{"t": {0}})
		require.NoError(t, err)
		block = offsets.GetBlock("t", 0)
		return block != nil && block.Offset == 20
	}, time.Minute, 50*time.Millisecond)
	require.NotEmpty(t, block.Metadata)
	return block
}

// restore has the cluster remember the offset of a topic that was deleted until
// the group commits another one, as one does that is restored from a backup, or
// that has not got round to it.
func restore(t *testing.T, c *kfake.Cluster, group string, block *sarama.OffsetFetchResponseBlock) {
	t.Helper()
	var replaced atomic.Bool
	c.ControlKey(int16(kmsg.OffsetCommit), func(request kmsg.Request) (kmsg.Response, error, bool) {
		replaced.Store(request.(*kmsg.OffsetCommitRequest).Group == group)
		if !replaced.Load() {
			c.KeepControl()
		}
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.OffsetFetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := request.(*kmsg.OffsetFetchRequest)
		if replaced.Load() || r.Group != group {
			return nil, nil, false
		}
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic = "t"
		partition := kmsg.NewOffsetFetchResponseTopicPartition()
		partition.Offset, partition.Metadata = block.Offset, &block.Metadata
		topic.Partitions = append(topic.Partitions, partition)
		response := r.ResponseKind().(*kmsg.OffsetFetchResponse)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
}

// A message that is too large for the client, or for the cluster, never gets
// smaller.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 1)
	queue := relay.Group{Name: "steady.dead", Queue: true}
	large := &relay.Message{Body: []byte(strings.Repeat("x", 1_000_000))}
	require.ErrorIs(t, b.Publish(t.Context(), "t", large), relay.ErrTooLarge)
	require.ErrorIs(t, b.Enqueue(t.Context(), queue, large), relay.ErrTooLarge)
	c.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		r := request.(*kmsg.ProduceRequest)
		response := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, asked := range r.Topics {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic, topic.TopicID = asked.Topic, asked.TopicID
			for range asked.Partitions {
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.ErrorCode = 10 // MESSAGE_TOO_LARGE
				topic.Partitions = append(topic.Partitions, partition)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	require.ErrorIs(t, b.Publish(t.Context(), "t", &relay.Message{Body: []byte("larger than the topic allows")}), relay.ErrTooLarge)
	require.NoError(t, b.Publish(t.Context(), "t", &relay.Message{Body: []byte("small")}))
}

// A cluster that takes what is sent and says nothing holds nobody up for long.
func TestSilentCluster(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b, other := brokerOf(t, c, 1), brokerOf(t, c, 1) // one request for a topic at a time
	s := subscriberOf(t, b, relay.Group{Name: "steady"}, "t")
	messages := subscribe(t, s, "t")
	publish(t, b, "t", 1)
	receive(t, messages).Ack()
	c.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		c.SleepControl(func() { <-t.Context().Done() })
		return nil, nil, false
	})
	queue := relay.Group{Name: "steady.dead", Queue: true}
	type call struct {
		name string
		f    func() error
	}
	for _, atOnce := range [][]call{
		{
			{"Publish", func() error { return b.Publish(t.Context(), "t", &relay.Message{}) }},
			{"Enqueue", func() error { return other.Enqueue(t.Context(), queue, &relay.Message{}) }},
			{"SubscribeInitialize", func() error { return s.Declare("t") }},
		},
		{
			{"Close of the subscriber", s.Close},
			{"Close", b.Close},
		},
	} {
		var calls sync.WaitGroup
		for _, call := range atOnce {
			calls.Go(func() {
				began := time.Now()
				assert.Error(t, call.f(), call.name)
				assert.Less(t, time.Since(began), soon, call.name)
			})
		}
		calls.Wait()
	}
}
