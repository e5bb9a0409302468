package kafka_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidings-go/tidings/relay"
	_ "github.com/tidings-go/tidings/relay/kafka"
	"github.com/tidings-go/tidings/relay/relaytest"
)

// cluster starts a Kafka in this process.
func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func urlOf(c *kfake.Cluster, params ...string) string {
	return fmt.Sprintf("kafka://%s?%s", strings.Join(c.ListenAddrs(), ","), strings.Join(params, "&"))
}

func TestSuite(t *testing.T) {
	t.Parallel()
	c := cluster(t, kfake.NumBrokers(3))
	// The conformance suite asks for the order of all events in a topic "…-all".
	// For that the topic has one partition, as if somebody had created it so.
	c.ControlKey(int16(kmsg.CreateTopics), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		topics := request.(*kmsg.CreateTopicsRequest).Topics
		for i := range topics {
			if strings.HasSuffix(topics[i].Topic, "-all") {
				topics[i].NumPartitions = 1
			}
		}
		return nil, nil, false
	})
	relaytest.Test(t, relaytest.Server{
		URL: urlOf(c), History: true,
		RemoveTopic: func(t *testing.T, topic string) { removeTopic(t, c, topic) },
		RemoveQueue: func(t *testing.T, group relay.Group, topic string) {
			if !group.Queue {
				t.Skip("what Kafka has for a group on a topic of events are its offsets, and those cannot be deleted while it runs")
			}
			removeTopic(t, c, topic)
		},
	})
}

func removeTopic(t *testing.T, c *kfake.Cluster, topic string) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin(c.ListenAddrs(), sarama.NewConfig())
	require.NoError(t, err)
	defer admin.Close()
	require.NoError(t, admin.DeleteTopic(topic))
}
