package kafka_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTopic(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b := brokerOf(t, c, 1)
	long := strings.Repeat("long-name.", 30)
	tests := []struct{ name, want, reason string }{
		{"sales.order-placed", "sales.order-placed", "most names are topics"},
		{"sales.order_placed", "sales.order__placed", `"sales.order.placed" is another topic, which Kafka would refuse beside it`},
		{"a/b:c", "a_2fb_3ac", ""},
		{"a_2fb", "a__2fb", "and not the one of a/b"},
		{long[:249], long[:249], "the most that Kafka takes"},
		{".", "._hcdb4ee2aea69cc6a83331bbe96dc2caa", "Kafka has no such topic"},
		{"é", "-_h4a99557e4033c3539de2eb65472017ca", "not a name by the rule, but it is in no other's way"},
	}
	for _, test := range tests {
		require.Equal(t, test.want, b.Topic(test.name), test.reason)
	}
	one, two := b.Topic(long+"1"), b.Topic(long+"2")
	require.NotEqual(t, one, two)
	for _, topic := range []string{one, two, b.Topic("."), b.Topic(".."), b.Topic("a/b:c_d")} {
		require.LessOrEqual(t, len(topic), 249)
		publish(t, b, topic, 1) // Kafka takes it
	}
}
