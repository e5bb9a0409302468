package kafka_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
	"github.com/tidings-go/tidings/relay/kafka"
)

// What was opened leaves nothing behind. Not parallel: it counts goroutines.
func TestCloseLeavesNothing(t *testing.T) {
	c := cluster(t)
	use := func() {
		b, err := kafka.New(kafka.Config{Addrs: c.ListenAddrs(), Topic: sarama.TopicDetail{NumPartitions: 2}})
		require.NoError(t, err)
		s := brokertest.NewSubscriber(b, relay.Group{Name: "g", Workers: 2})
		first, second := subscribe(t, s, "t"), subscribe(t, s, "t")
		publish(t, b, "t", 4)
		receive(t, first) // and says nothing
		receive(t, second).Ack()
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		require.NoError(t, b.Close())
		require.NoError(t, b.Close())
	}
	closeEarly := func() { // while it connects
		b, err := kafka.New(kafka.Config{Addrs: c.ListenAddrs()})
		require.NoError(t, err)
		go func() { _ = b.Publish(t.Context(), "t", &relay.Message{}) }() // closed, or not
		require.NoError(t, b.Close())
	}
	use() // the metrics of the client library have a goroutine that stays
	before := runtime.NumGoroutine()
	for range 2 {
		use()
		closeEarly()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before }, patience, 20*time.Millisecond)
}
