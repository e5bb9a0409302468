package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

const story = `Two processes, each with its database, and a broker between them. 20 orders are approved:
   monolith: 20 orders ready, 20 sent to the broker, 0 to send
   fulfilment: 20 boxes picked, 19 orders shipped

The carrier refused one order, which is a dead letter now. The others do not wait for it:
   events.OrderReadyForFulfillment O-7, attempt 1: tidings: fulfilment.ship handling events.OrderReadyForFulfillment: shipping order "O-7": the carrier does not know the address

Both end. The monolith starts again, alone, and 10 more orders are approved:
   monolith: 30 orders ready, 30 sent to the broker, 0 to send

The fulfilment starts again, and gets the events that the broker has kept:
   fulfilment: 30 boxes picked, 29 orders shipped

The carrier knows the address now, so the dead letter is redriven:
   events.OrderReadyForFulfillment O-7, attempt 1: tidings: fulfilment.ship handling events.OrderReadyForFulfillment: shipping order "O-7": the carrier does not know the address
   redriven: 1
   fulfilment: 30 boxes picked, 30 orders shipped

Both end. Orders whose event is the same in both databases, with its workflow and its cause: 30
`

// TestDemo runs the program without flags, with real processes.
func TestDemo(t *testing.T) {
	t.Parallel()
	requireStory(t)
}

// TestDemo_Brokers does the same on the other brokers.
func TestDemo_Brokers(t *testing.T) {
	t.Parallel()
	t.Run("Kafka", func(t *testing.T) {
		t.Parallel()
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		require.NoError(t, err)
		t.Cleanup(cluster.Close)
		requireStory(t, "-broker", "kafka://"+cluster.ListenAddrs()[0])
	})
	for _, c := range []struct{ name, variable string }{
		{"RabbitMQ", "TIDINGS_RABBITMQ_URL"},
		{"Redis", "TIDINGS_REDIS_URL"},
		{"SNS and SQS", "TIDINGS_AWS_URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broker := os.Getenv(c.variable)
			if broker == "" {
				require.Empty(t, os.Getenv("TIDINGS_REQUIRE_SERVICES"), "%s is not set", c.variable)
				t.Skipf(`%s is not set: scripts/services up, and eval "$(scripts/services env)"`, c.variable)
			}
			requireStory(t, "-broker", broker)
		})
	}
}

func requireStory(t *testing.T, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), args, strings.NewReader(""), &stdout, &stderr), stderr.String())
	require.Equal(t, story, stdout.String())
}
