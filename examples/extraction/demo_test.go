package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const story = `Two processes, each with its database, and a broker between them. 20 orders are approved:
   monolith: 20 orders ready, 20 sent to the broker, 0 to send
   fulfilment: 20 boxes picked, 19 orders shipped

The carrier has refused one. It waits as a dead letter, and no other order waits for it:
   events.OrderReadyForFulfillment O-7, attempt 1: tidings: fulfilment.ship handling events.OrderReadyForFulfillment: shipping order "O-7": the carrier does not know the address

Both end. The monolith starts again, alone, and 10 more orders are approved:
   monolith: 30 orders ready, 30 sent to the broker, 0 to send

The fulfilment starts again, and gets what the broker has kept for it:
   fulfilment: 30 boxes picked, 29 orders shipped

The carrier knows the address now, so the dead letter is put back:
   events.OrderReadyForFulfillment O-7, attempt 1: tidings: fulfilment.ship handling events.OrderReadyForFulfillment: shipping order "O-7": the carrier does not know the address
   put back: 1
   fulfilment: 30 boxes picked, 30 orders shipped

Both end. Orders whose event is the same in both databases, with its workflow and its cause: 30
`

// The program without flags, with real processes.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), nil, strings.NewReader(""), &stdout, &stderr), stderr.String())
	require.Equal(t, story, stdout.String())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// The same on the other brokers.
func TestDemo_Brokers(t *testing.T) {
	t.Parallel()
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
			var stdout, stderr bytes.Buffer
			require.Zero(t, run(t.Context(), []string{"-broker", broker}, strings.NewReader(""), &stdout, &stderr), stderr.String())
			require.Equal(t, story, stdout.String())
		})
	}
}
