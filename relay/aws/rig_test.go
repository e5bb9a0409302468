package aws_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/aws"
	"github.com/tidings-go/tidings/relay/internal/brokertest"
)

// patience is how long to wait for what should happen soon. It is long for a slow
// machine: all that it decides is when a test that hangs has failed.
const patience = time.Minute

// clients are raw ones for the server of a URL.
func clients(t *testing.T, serverURL string) (*sns.Client, *sqs.Client) {
	t.Helper()
	u, err := url.Parse(serverURL)
	require.NoError(t, err)
	secret, _ := u.User.Password()
	config := sdk.Config{
		Region: u.Hostname(), BaseEndpoint: sdk.String(u.Query().Get("endpoint")),
		Credentials: credentials.NewStaticCredentialsProvider(u.User.Username(), secret, ""),
	}
	return sns.NewFromConfig(config), sqs.NewFromConfig(config)
}

// newBroker returns a broker, and a name for a topic that is nobody else's.
func newBroker(t *testing.T) (relay.Broker, string) {
	t.Helper()
	toSNS, toSQS := clients(t, server(t))
	b, err := aws.New(aws.Config{SNS: toSNS, SQS: toSQS})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b, b.Topic("t" + uuid.NewString())
}

// subscribe returns a subscriber, which is closed with the test, and its channel.
func subscribe(t *testing.T, b relay.Broker, group relay.Group, topic string) (*brokertest.Subscriber, <-chan *brokertest.Message) {
	t.Helper()
	s := brokertest.NewSubscriber(b, group)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	messages, err := s.Subscribe(context.WithoutCancel(t.Context()), topic)
	require.NoError(t, err)
	return s, messages
}

// group returns a group of the test's own; a message that is neither acknowledged
// nor refused does not come again while it runs.
func group(t *testing.T) relay.Group {
	return relay.Group{Name: strings.ReplaceAll(t.Name(), "/", ".") + "." + uuid.NewString(), AckWait: time.Hour, Workers: 1}
}

func publish(t *testing.T, b relay.Broker, topic string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		require.NoError(t, b.Publish(t.Context(), topic, &relay.Message{ID: uuid.NewString(), Body: []byte(body)}))
	}
}

// next returns the next message.
func next(t *testing.T, messages <-chan *brokertest.Message) *brokertest.Message {
	t.Helper()
	select {
	case m, ok := <-messages:
		require.True(t, ok, "the subscription has ended")
		return m
	case <-time.After(patience):
		require.FailNow(t, "no message has arrived")
		return nil
	}
}

// wantBodies acknowledges messages until there were all of these bodies, which
// it may have been twice.
func wantBodies(t *testing.T, messages <-chan *brokertest.Message, bodies ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, body := range bodies {
		missing[body] = true
	}
	for len(missing) > 0 {
		m := next(t, messages)
		delete(missing, string(m.Body))
		m.Ack()
	}
}
