package aws_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/aws"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

func TestTopic(t *testing.T) {
	t.Parallel()
	b, _ := newBroker(t)
	long := strings.Repeat("crm.", 80)
	names := map[string]string{ // topic: reason
		"crm.proposal_accepted": "the usual",
		"crm-proposal_accepted": "a hyphen is no dot",
		"crm--2Dproposal":       "what a hyphen becomes",
		"crm--2D-x":             "what two become",
		"crm/a":                 "", "crm:a": "", "crm.a": "", "crm_a": "",
		"crm..a": "", "crm.-a": "", "crm-.a": "", "crm--a": "", "crm.": "", ".crm": "", "crm": "", "Crm": "",
		"ünï.cödé": "letters of all sorts",
		long:       "too long", long + "x": "too long, and different at the end", "x" + long: "too long, and different at the beginning",
	}
	valid := regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
	seen := map[string]string{}
	for name := range names {
		topic := b.Topic(name)
		require.Regexp(t, valid, topic, name)
		require.Empty(t, seen[topic], "%q and %q have the same topic", name, seen[topic])
		seen[topic] = name
	}
	require.Equal(t, "crm-proposal_accepted", b.Topic("crm.proposal_accepted"))
}

func TestQueueName(t *testing.T) {
	t.Parallel()
	valid := regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)
	long := strings.Repeat("a", 200)
	seen := map[string][2]string{}
	for _, pair := range [][2]string{
		{"billing", "orders"}, {"billing.orders", "orders"}, {"billing-", "orders"}, {"billing", "-orders"}, {"billing", "a---b"}, {"billing.a", "b"},
		{long, "t"}, {long + ".retry", "t"}, {long + ".dead", "t"}, {long, "u"}, {"b", long},
	} {
		queue := aws.QueueName(pair[0], pair[1])
		require.Regexp(t, valid, queue)
		require.NotContains(t, seen, queue)
		seen[queue] = pair
	}
	require.Equal(t, "staging-billing-mail---staging-orders-placed", aws.QueueName("staging.billing.mail", "staging-orders-placed"))
}

func TestLongNames(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	g.Name += strings.Repeat("x", 200)
	h := g
	h.Name += "y"
	long := b.Topic(topic + strings.Repeat("z", 300))
	_, first := subscribe(t, b, g, long)
	_, second := subscribe(t, b, h, long)
	publish(t, b, long, "one")
	wantBodies(t, first, "one")
	wantBodies(t, second, "one")
}

func TestTopicOfTheUsersOwn(t *testing.T) {
	t.Parallel()
	b, _ := newBroker(t)
	s := brokertest.NewSubscriber(b, relay.Group{Name: "g"})
	defer s.Close()
	for _, topic := range []string{"", "orders.placed", "orders.fifo", strings.Repeat("x", 257), "a b"} {
		require.ErrorContains(t, b.Publish(t.Context(), topic, &relay.Message{ID: "id"}), "not a valid SNS name")
		_, err := s.Subscribe(t.Context(), topic)
		require.ErrorContains(t, err, "not a valid SNS name")
	}
}
