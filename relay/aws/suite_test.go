package aws_test

import (
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/aws"
	"github.com/tidings-go/tidings/relay/relaytest"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
)

// server returns the URL of SNS and SQS.
func server(t *testing.T) string {
	t.Helper()
	u := os.Getenv("TIDINGS_AWS_URL")
	if u == "" {
		if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
			t.Fatal("TIDINGS_REQUIRE_SERVICES=1, but there is no TIDINGS_AWS_URL")
		}
		t.Skip(`there is no TIDINGS_AWS_URL: scripts/services up, and eval "$(scripts/services env)"`)
	}
	return u
}

func TestSuite(t *testing.T) {
	t.Parallel()
	toSNS, toSQS := clients(t, server(t))
	relaytest.Test(t, relaytest.Server{
		URL: server(t), NoAttributes: true, Features: transporttest.Features{Unordered: true},
		RemoveTopic: func(t *testing.T, topic string) { removeTopic(t, toSNS, topic) },
		RemoveQueue: func(t *testing.T, group relay.Group, topic string) {
			removeQueue(t, toSQS, aws.QueueName(group.Name, topic))
		},
	})
}

func removeTopic(t *testing.T, client *sns.Client, topic string) {
	t.Helper()
	created, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &topic})
	require.NoError(t, err)
	_, err = client.DeleteTopic(t.Context(), &sns.DeleteTopicInput{TopicArn: created.TopicArn})
	require.NoError(t, err)
}

func removeQueue(t *testing.T, client *sqs.Client, name string) {
	t.Helper()
	u, err := client.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: &name})
	require.NoError(t, err)
	_, err = client.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: u.QueueUrl})
	require.NoError(t, err)
}
