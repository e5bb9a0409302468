package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// A sighting records when a queue, and its subscription if any, was seen.
type sighting struct {
	url string
	at  time.Time
}

// seen returns the URL of a queue that was seen recently.
func (b *broker) seen(name string) (url string, ok bool) {
	s, ok := b.looked.Load(name)
	if !ok || time.Since(s.(sighting).at) > lookEvery {
		return "", false
	}
	return s.(sighting).url, true
}

// ownQueue returns the URL of one of a handler's own queues, and creates it if
// it does not exist.
func (b *broker) ownQueue(ctx context.Context, name string) (string, error) {
	if url, ok := b.seen(name); ok {
		return url, nil
	}
	url, err := b.createQueue(ctx, name, "", "")
	if err != nil {
		return "", fmt.Errorf("creating the queue: %w", err)
	}
	b.looked.Store(name, sighting{url, time.Now()})
	return url, nil
}

// subscribedQueue makes SNS copy the messages on a topic to a queue, and
// returns the queue's URL. It creates what is missing, and changes an existing
// queue or subscription only where it would block messages.
func (b *broker) subscribedQueue(ctx context.Context, name, topic string) (string, error) {
	if url, ok := b.seen(name); ok {
		return url, nil
	}
	topicARN, err := b.arnOf(ctx, topic)
	if err != nil {
		return "", err
	}
	parts, err := arn.Parse(topicARN)
	if err != nil {
		return "", fmt.Errorf("parsing the ARN %q of the topic: %w", topicARN, err)
	}
	parts.Service, parts.Resource = "sqs", name
	queueARN := parts.String()
	url, err := b.createQueue(ctx, name, queueARN, topicARN)
	if err != nil {
		return "", fmt.Errorf("creating the queue %q: %w", name, err)
	}
	if err = b.subscribe(ctx, topicARN, queueARN); isGone(err) {
		b.lose(topic, topicARN)
		if topicARN, err = b.arnOf(ctx, topic); err == nil {
			err = b.subscribe(ctx, topicARN, queueARN)
		}
	}
	if err != nil {
		return "", fmt.Errorf("subscribing the queue %q: %w", name, err)
	}
	b.looked.Store(name, sighting{url, time.Now()})
	return url, nil
}

// createQueue creates a queue. If there is a topic for it, its policy allows
// SNS to send to it from the beginning: a change may take a minute, and SNS
// gives up a message that it may not deliver.
func (b *broker) createQueue(ctx context.Context, name, queueARN, topicARN string) (url string, err error) {
	attributes := map[string]string{"MessageRetentionPeriod": strconv.Itoa(int(b.Retention.Seconds()))}
	if topicARN != "" {
		if attributes["Policy"], err = allow("", queueARN, topicARN); err != nil {
			return "", err
		}
	}
	created, err := b.SQS.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err == nil {
		return aws.ToString(created.QueueUrl), nil
	}
	if different := (*sqstypes.QueueNameExists)(nil); !errors.As(err, &different) {
		return "", err
	}
	existing, err := b.SQS.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil {
		return "", err
	}
	if topicARN == "" {
		return aws.ToString(existing.QueueUrl), nil
	}
	return aws.ToString(existing.QueueUrl), b.amendPolicy(ctx, existing.QueueUrl, queueARN, topicARN)
}

// amendPolicy allows SNS to send to an existing queue, unless its policy
// already names the topic.
func (b *broker) amendPolicy(ctx context.Context, url *string, queueARN, topicARN string) error {
	out, err := b.SQS.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNamePolicy},
	})
	if err != nil {
		return err
	}
	policy := out.Attributes["Policy"]
	if strings.Contains(policy, topicARN) {
		return nil
	}
	if policy, err = allow(policy, queueARN, topicARN); err != nil {
		return err
	}
	_, err = b.SQS.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: map[string]string{"Policy": policy}})
	return err
}

// allow returns policy, which may be empty, with a statement that allows SNS to
// send the messages of the topic.
func allow(policy, queueARN, topicARN string) (string, error) {
	document := map[string]any{"Version": "2012-10-17"}
	if policy != "" {
		if err := json.Unmarshal([]byte(policy), &document); err != nil {
			return "", fmt.Errorf("the policy of the queue: %w", err)
		}
	}
	statements, ok := document["Statement"].([]any)
	if one := document["Statement"]; !ok && one != nil {
		statements = []any{one}
	}
	document["Statement"] = append(statements, map[string]any{
		"Effect":    "Allow",
		"Principal": map[string]any{"Service": "sns.amazonaws.com"},
		"Action":    "sqs:SendMessage",
		"Resource":  queueARN,
		"Condition": map[string]any{"ArnEquals": map[string]any{"aws:SourceArn": topicARN}},
	})
	text, err := json.Marshal(document)
	return string(text), err
}

// subscribe makes SNS send the bodies unchanged, and not in an envelope.
func (b *broker) subscribe(ctx context.Context, topicARN, queueARN string) error {
	raw := map[string]string{"RawMessageDelivery": "true"}
	in := sns.SubscribeInput{TopicArn: &topicARN, Protocol: aws.String("sqs"), Endpoint: &queueARN, Attributes: raw, ReturnSubscriptionArn: true}
	_, err := b.SNS.Subscribe(ctx, &in)
	if invalid := (*snstypes.InvalidParameterException)(nil); !errors.As(err, &invalid) || !strings.Contains(invalid.ErrorMessage(), "already exists") {
		return err
	}
	// It has further attributes, a filter for example.
	in.Attributes = nil
	out, err := b.SNS.Subscribe(ctx, &in)
	if err != nil {
		return err
	}
	for name, value := range raw {
		_, err = b.SNS.SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{SubscriptionArn: out.SubscriptionArn, AttributeName: &name, AttributeValue: &value})
	}
	return err
}
