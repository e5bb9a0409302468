package bench_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/bench"
)

// Every message has to arrive, or the measurement does not end.
func TestRelayCosts(t *testing.T) {
	const messages = 60
	r, err := bench.Run(bench.Plan{Count: 1, Time: time.Millisecond, Messages: messages}, regexp.MustCompile("^relay$"), func(string) {})
	require.NoError(t, err)
	require.Len(t, append(r.LeftOut, brokersOf(r)...), 5)
	require.Subset(t, brokersOf(r), []string{"NATS JetStream", "Kafka (kfake)"})
	for _, c := range r.Relays {
		require.Equal(t, messages, c.Messages)
		for _, s := range []bench.Sample{c.BarePublish, c.OursPublish, c.BareConsume, c.DecodedConsume, c.OursConsume} {
			require.Positive(t, s.NS, c.Broker)
		}
		for _, l := range []bench.Latency{c.Bare, c.Decoded, c.Ours} {
			require.Positive(t, l.P50, c.Broker)
			require.GreaterOrEqual(t, l.P99, l.P50, c.Broker)
		}
	}
	var page strings.Builder
	require.NoError(t, bench.WriteMarkdown(&page, bench.Heading{}, r))
	require.Contains(t, page.String(), "\n## Brokers\n")
	require.Contains(t, page.String(), "\n| NATS JetStream | 60 | ")
	require.Contains(t, page.String(), "| Relay: publish, NATS JetStream | ≥ 0.9x the rate of the adapter | ")
	if len(r.LeftOut) > 0 {
		skipWithoutServices(t, r.LeftOut[0])
	}
}

func brokersOf(r bench.Report) (names []string) {
	for _, c := range r.Relays {
		names = append(names, c.Broker)
	}
	return names
}
