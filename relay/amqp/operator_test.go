package amqp_test

import (
	"strings"
	"testing"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
)

// What an operator has made stays as it is.
func TestQueuesOfAnOperator(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	for _, test := range []struct {
		name             string
		durable, deletes bool
		arguments        amqp091.Table
		refused          []string
	}{
		{"max length", true, false, amqp091.Table{"x-queue-type": "classic", "x-max-length": 1000}, nil},
		{"time to live", true, false, amqp091.Table{"x-message-ttl": 3_600_000}, nil},
		{"dead letters", true, false, amqp091.Table{"x-dead-letter-exchange": "elsewhere"}, nil},
		{"another type", true, false, amqp091.Table{"x-queue-type": "quorum"}, []string{"x-queue-type", "set queue_type to that"}},
		{"does not last", false, false, nil, []string{`another "durable"`}},
		{"goes with its consumer", true, true, nil, []string{`another "auto_delete"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, topic := newBroker(t, u, amqp.Config{}), newName()
			raw := rawClient(t, u)
			_, err := raw.QueueDeclare("group@"+topic, test.durable, test.deletes, false, false, test.arguments)
			require.NoError(t, err)
			s := subscriber(t, b, "group")
			if test.refused != nil {
				err := s.Declare(topic)
				_, err2 := s.Subscribe(t.Context(), topic)
				for _, text := range test.refused {
					require.ErrorContains(t, err, text)
					require.ErrorContains(t, err2, text)
				}
				require.Equal(t, test.arguments["x-queue-type"] != nil, strings.Contains(err.Error(), "set queue_type"), "the right cause: %v", err)
				return
			}
			initialize(t, s, topic)
			initialize(t, s, topic)
			messages := subscribe(t, s, topic)
			publish(t, b, topic, "body")
			receive(t, messages).Ack()
			_, err = raw.QueueDeclare("group@"+topic, test.durable, test.deletes, false, false, test.arguments)
			require.NoError(t, err, "it is as it was")
		})
	}
}

func TestExchangesOfAnOperator(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	for _, test := range []struct {
		kind      string
		arguments amqp091.Table
	}{
		{"topic", nil}, {"direct", nil}, {"headers", nil}, {"fanout", amqp091.Table{"alternate-exchange": "elsewhere"}},
	} {
		b, topic, raw := newBroker(t, u, amqp.Config{}), newName(), rawClient(t, u)
		require.NoError(t, raw.ExchangeDeclare(topic, test.kind, true, false, false, false, test.arguments))
		publish(t, b, topic, "nobody has subscribed")
		messages := subscribe(t, subscriber(t, b, "group"), topic)
		publish(t, b, topic, "body")
		require.Equal(t, "body", string(receive(t, messages).Body))
		require.NoError(t, raw.ExchangeDeclare(topic, test.kind, true, false, false, false, test.arguments), "it is as it was")
	}
}

// Where an operator has an alternate exchange, messages have somewhere to go.
func TestAlternateExchange(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, topic, raw := newBroker(t, u, amqp.Config{}), newName(), rawClient(t, u)
	require.NoError(t, raw.ExchangeDeclare(topic+".rest", "fanout", true, false, false, false, nil))
	_, err := raw.QueueDeclare(topic+".rest", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, raw.QueueBind(topic+".rest", "", topic+".rest", false, nil))
	require.NoError(t, raw.ExchangeDeclare(topic, "fanout", true, false, false, false, amqp091.Table{"alternate-exchange": topic + ".rest"}))
	publish(t, b, topic, "one", "two")
	require.Equal(t, []string{"one", "two"}, bodies(t, raw, topic+".rest"))
}

// A queue that rejects what it has no room for makes Publish and Enqueue fail.
func TestFullQueueThatRejects(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, topic, raw := newBroker(t, u, amqp.Config{}), newName(), rawClient(t, u)
	full := amqp091.Table{"x-max-length": 1, "x-overflow": "reject-publish"}
	group := relay.Group{Name: topic + ".retry", Queue: true}
	for _, queue := range []string{"group@" + topic, group.Name} {
		_, err := raw.QueueDeclare(queue, true, false, false, false, full)
		require.NoError(t, err)
	}
	initialize(t, subscriber(t, b, "group"), topic)
	publish(t, b, topic, "fits")
	require.ErrorContains(t, b.Publish(t.Context(), topic, &relay.Message{}), "a full queue that rejects")
	require.NoError(t, b.Enqueue(t.Context(), group, &relay.Message{}))
	require.ErrorContains(t, b.Enqueue(t.Context(), group, &relay.Message{}), "a full queue that rejects")
}
