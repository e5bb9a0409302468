package amqp_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
)

func TestMessageOnTheWire(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, topic := newBroker(t, u, amqp.Config{}), newName()
	s := subscriber(t, b, "group")
	initialize(t, s, topic)
	sent := &relay.Message{ID: "an id", Body: []byte{0, 1, 0xff}}
	sent.Metadata = map[string]string{"content-type": "application/cloudevents+json", "ce-type": "x", "empty": ""}
	require.NoError(t, b.Publish(t.Context(), topic, sent))

	d, ok, err := rawClient(t, u).Get("group@"+topic, false)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "an id", d.MessageId)
	require.Equal(t, "application/cloudevents+json", d.ContentType)
	require.EqualValues(t, amqp091.Persistent, d.DeliveryMode)
	require.Equal(t, []byte{0, 1, 0xff}, d.Body)
	delete(d.Headers, "x-delivery-count") // the server's
	require.Equal(t, amqp091.Table{"_watermill_message_uuid": "an id", "ce-type": "x", "empty": ""}, d.Headers)
	require.NoError(t, d.Nack(false, true))

	m := receive(t, subscribe(t, s, topic))
	require.Equal(t, sent.ID, m.ID)
	require.Equal(t, sent.Body, m.Body)
	require.Equal(t, sent.Metadata, m.Metadata)
	m.Ack()
}

func TestMessagesOfOthers(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, topic, again := newBroker(t, u, amqp.Config{}), newName(), newName()
	s := subscriber(t, b, "group")
	messages, copies := subscribe(t, s, topic), subscribe(t, s, again)
	raw := rawClient(t, u)
	at := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		reason string
		sent   amqp091.Publishing
		id     string
		want   map[string]string
	}{
		{"nothing at all", amqp091.Publishing{}, "", map[string]string{}},
		{"no UUID, and no text", amqp091.Publishing{Body: []byte{0xff, 0xfe, 0}}, "", map[string]string{}},
		{"the property is an ID, too", amqp091.Publishing{MessageId: "m"}, "m", map[string]string{}},
		{"a UUID that is none", amqp091.Publishing{MessageId: "m", Headers: amqp091.Table{"_watermill_message_uuid": int32(7)}}, "m", map[string]string{}},
		{"headers of all types", amqp091.Publishing{ContentType: "text/plain", Headers: amqp091.Table{
			"i": int64(-3), "f": 1.5, "b": true, "n": nil, "t": at, "s": []byte("bytes"), "l": []any{"x", int32(1)}, "m": amqp091.Table{"k": "v"},
		}}, "", map[string]string{
			"i": "-3", "f": "1.5", "b": "true", "n": "", "t": "2026-11-22T04:00:00Z", "s": "bytes", "l": "[x 1]", "m": "map[k:v]", "content-type": "text/plain",
		}},
		{"published again as text, these would close the channel", amqp091.Publishing{Headers: amqp091.Table{
			"CC": []any{"somewhere"}, "x-death": []any{amqp091.Table{"count": int64(1)}}, "x-delivery-count": int64(9), "k": "v",
		}}, "", map[string]string{"k": "v"}},
	} {
		t.Log(test.reason)
		require.NoError(t, raw.Publish(topic, "", false, false, test.sent))
		m := receive(t, messages)
		require.Equal(t, test.id, m.ID, test.reason)
		require.Equal(t, string(test.sent.Body), string(m.Body), test.reason)
		require.Equal(t, test.want, m.Metadata, test.reason)

		c := &relay.Message{ID: m.ID, Body: m.Body, Metadata: map[string]string{"CC": "x", "BCC": "x", "x-death": "x"}}
		maps.Copy(c.Metadata, m.Metadata)
		require.NoError(t, b.Publish(t.Context(), again, c), test.reason)
		m.Ack()
		m = receive(t, copies)
		require.Equal(t, test.want, m.Metadata, test.reason)
		m.Ack()
	}
}

// The headers of a message have to fit into a frame: the server would close the
// connection, for all who publish on it, and do so again at each attempt.
func TestLargeHeaders(t *testing.T) {
	t.Parallel()
	u := serverURL(t)
	b, topic, again := newBroker(t, u, amqp.Config{}), newName(), newName()
	messages := subscribe(t, subscriber(t, b, "group"), topic)

	require.NoError(t, rawClient(t, u).Publish(topic, "", false, false, amqp091.Publishing{Headers: amqp091.Table{
		"large": strings.Repeat("l", 70<<10), "medium": strings.Repeat("m", 50<<10), "small": "s",
	}}))
	m := receive(t, messages)
	require.Equal(t, "s", m.Metadata["small"])
	require.Len(t, m.Metadata["medium"], 50<<10)
	require.NotContains(t, m.Metadata, "large", "a relay would have no room to say why it has failed")
	m.Metadata["reason"] = strings.Repeat("r", 2000)
	require.NoError(t, b.Publish(t.Context(), again, m.Message))
	m.Ack()

	tooLarge := &relay.Message{Metadata: map[string]string{"large": strings.Repeat("l", 130<<10)}}
	require.ErrorContains(t, b.Publish(t.Context(), topic, tooLarge), "the server allows")
	longKey := &relay.Message{Metadata: map[string]string{strings.Repeat("k", 256): "v"}}
	require.ErrorContains(t, b.Publish(t.Context(), topic, longKey), "256 bytes")
	publish(t, b, topic, "goes on")
	require.Equal(t, "goes on", string(receive(t, messages).Body))
}

func TestLargeBody(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t, serverURL(t), amqp.Config{}), newName()
	messages := subscribe(t, subscriber(t, b, "group"), topic)
	body := strings.Repeat("body ", 1<<20)
	publish(t, b, topic, body)
	require.Equal(t, body, string(receive(t, messages).Body))
}
