package aws_test

import (
	"errors"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/aws"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

func TestMessageArrivesAsItWas(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	_, messages := subscribe(t, b, group(t), topic)
	many := map[string]string{}
	for c := 'a'; c <= 'z'; c++ {
		many[string(c)] = strings.Repeat(string(c), 10)
	}
	for _, c := range []struct {
		name     string
		body     string
		metadata map[string]string
	}{
		{"nothing", "", nil},
		{"text", "Zoë 🐟\t\r\n", map[string]string{"a": "b"}},
		{"no text", "\x00\xff\xfe", nil},
		{"characters that XML does not have", "a\x01\uFFFE", nil},
		{"looks like base64", "AAAA", nil},
		{"looks like nothing", "-", nil},
		{"more metadata than SNS has attributes", "x", many},
		{"what no attribute can be", "x", map[string]string{"": "v", "..": "v", "AWS.x": "v", "a b": "v", "ü": "v", "empty": "", "odd": "\x01\n\"'"}},
	} {
		m := &relay.Message{ID: "the ID", Body: []byte(c.body), Metadata: c.metadata}
		require.NoError(t, b.Publish(t.Context(), topic, m), c.name)
		got := next(t, messages)
		got.Ack()
		require.Equal(t, "the ID", got.ID, c.name)
		require.Equal(t, c.body, string(got.Body), c.name)
		require.Equal(t, len(c.metadata), len(got.Metadata), c.name)
		for k, v := range c.metadata {
			require.Equal(t, v, got.Metadata[k], "%s: %q", c.name, k)
		}
	}
}

// Filter policies of SNS, and other programs, look at attributes.
func TestAttributes(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	s := brokertest.NewSubscriber(b, g)
	require.NoError(t, s.Declare(topic))
	m := &relay.Message{ID: "the ID", Body: []byte("{}"), Metadata: map[string]string{}}
	for _, key := range []string{"content-type", "ce-id", "ce-type", "ce-source", "ce-time", "ce-partitionkey", "tidings-attempt", "tidings-due", "tidings-handler", "tidings-origin", "tidings-reason", "traceparent"} {
		m.Metadata[key] = "value of " + key
	}
	require.NoError(t, b.Publish(t.Context(), topic, m))
	require.NoError(t, s.Close())

	_, toSQS := clients(t, server(t))
	u, err := toSQS.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: sdk.String(aws.QueueName(g.Name, topic))})
	require.NoError(t, err)
	out, err := toSQS.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: u.QueueUrl, WaitTimeSeconds: 10, MessageAttributeNames: []string{"All"}})
	require.NoError(t, err)
	require.Len(t, out.Messages, 1)
	require.Equal(t, "{}", *out.Messages[0].Body)
	attributes := out.Messages[0].MessageAttributes
	require.LessOrEqual(t, len(attributes), 10)
	for _, key := range []string{"content-type", "ce-id", "ce-type", "tidings-reason"} {
		require.Equal(t, "value of "+key, *attributes[key].StringValue)
	}
	require.Equal(t, "the ID", *attributes["_watermill_message_uuid"].StringValue)
	require.NotContains(t, attributes, "ce-source")
	require.Contains(t, *attributes["tidings-more"].StringValue, "value of traceparent")
}

// Other programs send what they like, to the topic or to the queue.
func TestMessagesOfOthers(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	g := group(t)
	_, messages := subscribe(t, b, g, topic)
	toSNS, toSQS := clients(t, server(t))
	created, err := toSNS.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &topic})
	require.NoError(t, err)
	_, err = toSNS.Publish(t.Context(), &sns.PublishInput{
		TopicArn: created.TopicArn, Message: sdk.String("from SNS"),
		MessageAttributes: map[string]snstypes.MessageAttributeValue{
			"number":       {DataType: sdk.String("Number"), StringValue: sdk.String("7.5")},
			"custom":       {DataType: sdk.String("String.url"), StringValue: sdk.String("x")},
			"tidings-more": {DataType: sdk.String("String"), StringValue: sdk.String("{no JSON")},
			"tidings-body": {DataType: sdk.String("String"), StringValue: sdk.String("base64")},
		},
	})
	require.NoError(t, err)
	m := next(t, messages)
	require.Equal(t, "from SNS", string(m.Body))
	require.Equal(t, map[string]string{"number": "7.5", "custom": "x"}, m.Metadata)
	require.NotEmpty(t, m.ID)
	m.Ack()

	u, err := toSQS.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: sdk.String(aws.QueueName(g.Name, topic))})
	require.NoError(t, err)
	_, err = toSQS.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: u.QueueUrl, MessageBody: sdk.String("from SQS"),
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{"binary": {DataType: sdk.String("Binary"), BinaryValue: []byte{0xff, 0}}},
	})
	require.NoError(t, err)
	m = next(t, messages)
	require.Equal(t, "from SQS", string(m.Body))
	require.Equal(t, map[string]string{"binary": "\xff\x00"}, m.Metadata)
	m.Ack()
	publish(t, b, topic, "ours")
	wantBodies(t, messages, "ours")
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	b, topic := newBroker(t)
	_, messages := subscribe(t, b, group(t), topic)
	m := &relay.Message{ID: "id", Body: []byte(strings.Repeat("x", 256<<10))}
	err := b.Publish(t.Context(), topic, m)
	require.ErrorContains(t, err, "send a reference to what is large")
	var permanent interface{ Permanent() bool }
	require.True(t, errors.As(err, &permanent) && permanent.Permanent(), "it is of no use to try again")

	m.Body = m.Body[:(254<<10)-100]
	require.NoError(t, b.Publish(t.Context(), topic, m))
	got := next(t, messages)
	got.Metadata["tidings-attempt"] = "1"
	got.Metadata["tidings-reason"] = strings.Repeat("r", 3000)
	for c := 'a'; c <= 'l'; c++ { // the reason is none of the attributes
		got.Metadata[string(c)] = "x"
	}
	require.NoError(t, b.Publish(t.Context(), topic, got.Message), "what has arrived can be passed on, for a shorter reason if need be")
	got.Ack()
	got = next(t, messages)
	require.Len(t, got.Body, len(m.Body))
	require.Equal(t, "1", got.Metadata["tidings-attempt"])
	require.Equal(t, "x", got.Metadata["l"])
	require.NotContains(t, got.Metadata, "tidings-reason")
	got.Ack()
}
