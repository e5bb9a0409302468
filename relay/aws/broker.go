package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/tidings-go/tidings/relay"
)

// A Config configures the broker of [New]. Only the clients are required; any
// other field may be zero.
type Config struct {
	SNS *sns.Client
	SQS *sqs.Client // of the same account and region

	// Retention is the parameter retention, see the package. The default is two
	// weeks.
	Retention time.Duration

	// Logger gets, at level WARN, the problems from which the broker recovers by
	// itself. The default is [slog.Default].
	Logger *slog.Logger
}

// New returns a broker for [relay.New], with settings that a URL cannot express.
// It does not connect: errors show at the first use.
func New(config Config) (relay.Broker, error) {
	if config.SNS == nil || config.SQS == nil {
		return nil, errors.New("relay/aws: New with a nil Config.SNS or Config.SQS")
	}
	if config.Retention == 0 {
		config.Retention = maxRetention
	}
	if err := checkRetention(config.Retention); err != nil {
		return nil, fmt.Errorf("relay/aws: %w", err)
	}
	config.Logger = cmp.Or(config.Logger, slog.Default())
	config.SNS = sns.New(config.SNS.Options(), func(o *sns.Options) { o.HTTPClient = wholeBodies{o.HTTPClient} })
	config.SQS = sqs.New(config.SQS.Options(), func(o *sqs.Options) {
		o.HTTPClient = wholeBodies{o.HTTPClient}
		// A wrong checksum would be an error in place of ten messages.
		o.DisableMessageChecksumValidation = true
	})
	return &broker{Config: config, topics: newTopics()}, nil
}

const (
	minRetention = time.Minute
	maxRetention = 14 * 24 * time.Hour
)

func checkRetention(d time.Duration) error {
	if d < minRetention || d > maxRetention {
		return fmt.Errorf("the retention %v must be between %v and %v", d, minRetention, maxRetention)
	}
	return nil
}

// requestWithin limits the time of a request, with all of the client's
// attempts.
const requestWithin = 10 * time.Second

// A broker publishes to SNS, which copies each message to the queue of each
// group, in SQS.
//
// It does not use the Publisher and Subscriber of watermill-aws, whose faults
// cannot be fixed from outside. As of v1.0.1 its publisher ignores the
// message's context, so that it may hang, and turns each metadata into an
// attribute, more than SNS accepts. Its subscriber
//
//   - blocks in a send to its channel if no goroutine reads it, where neither
//     Close nor a context reaches it;
//   - deletes an acknowledged message with a context that Close cancels, so
//     that the message is redelivered;
//   - does not tell the server about a Nack, so that the message waits until
//     the visibility timeout ends;
//   - requests each message, and deletes it, before it requests the next one;
//   - overwrites the policy of a queue.
type broker struct {
	Config
	topics topics
	looked sync.Map // when a queue was last seen, by name: string to sighting

	mu     sync.Mutex
	closed bool
	polls  sync.WaitGroup // requests for messages; added to under mu, and not when closed
}

// Topic returns the name of the topic in SNS.
func (b *broker) Topic(name string) string { return topicName(name) }

// Publish returns when SNS has stored the messages.
func (b *broker) Publish(ctx context.Context, topic string, messages ...*relay.Message) error {
	for _, m := range messages {
		if err := b.publish(ctx, topic, m); err != nil {
			return fmt.Errorf("relay/aws: publishing to %q: %w", topic, err)
		}
	}
	return nil
}

func (b *broker) publish(ctx context.Context, topic string, m *relay.Message) error {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	body, attributes, err := marshal(m)
	if err != nil {
		return err
	}
	if err := b.settled(topic); err != nil {
		return err
	}
	arn, err := b.arnOf(ctx, topic)
	if err != nil {
		return err
	}
	_, err = b.SNS.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: &body, MessageAttributes: snsAttributes(attributes)})
	if isGone(err) {
		b.lose(topic, arn)
	}
	return classify(err)
}

// Enqueue returns when SQS has stored the messages in the queue of the group,
// without SNS.
func (b *broker) Enqueue(ctx context.Context, group relay.Group, messages ...*relay.Message) error {
	name := queueName(group.Name, b.Topic(group.Name))
	for _, m := range messages {
		if err := b.enqueue(ctx, name, m); err != nil {
			return fmt.Errorf("relay/aws: sending to the queue %q: %w", name, err)
		}
	}
	return nil
}

func (b *broker) enqueue(ctx context.Context, queue string, m *relay.Message) error {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	body, attributes, err := marshal(m)
	if err != nil {
		return err
	}
	for again := false; ; again = true {
		url, err := b.ownQueue(ctx, queue)
		if err != nil {
			return err
		}
		_, err = b.SQS.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: sqsAttributes(attributes)})
		if gone := (*sqstypes.QueueDoesNotExist)(nil); !errors.As(err, &gone) || again {
			return classify(err)
		}
		b.looked.Delete(queue) // it was deleted
	}
}

// classify returns err as relay.ErrTooLarge if it says that a message is too
// large for this server, or for a queue with its own limit.
func classify(err error) error {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return err
	}
	switch text := answer.ErrorMessage(); {
	case strings.Contains(text, "must be shorter than"), strings.Contains(text, "too long"), strings.Contains(text, "too large"):
		return fmt.Errorf("%w: %w", relay.ErrTooLarge, err)
	}
	return err
}

// goPoll runs a request for messages, for which Close waits.
func (b *broker) goPoll(request func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed { // although a subscription is not
		go request()
		return
	}
	b.polls.Go(request)
}

// Close waits for the running requests for messages, see pollOver.
func (b *broker) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.polls.Wait()
	return nil
}
