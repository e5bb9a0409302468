package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"

	"github.com/tidings-go/tidings/relay"
)

// A topic may be deleted, and its subscriptions with it. SNS creates it again
// for any process that asks, and accepts messages for it that reach no queue.
const (
	// lookEvery is how often a group checks whether its subscription exists.
	// The relay asks more often, but requests cost money.
	lookEvery = 30 * time.Second

	// settleFor is how long a deleted topic accepts nothing: until all groups
	// that are alive have checked.
	settleFor = lookEvery + 2*relay.DeclareEvery
)

// topics are the topics that this process has used.
type topics struct {
	arns     sync.Map      // by name: string to string
	lost     sync.Map      // by name: string to time.Time, when it accepts messages again
	creating chan struct{} // has an element while a topic is being created
}

func newTopics() topics { return topics{creating: make(chan struct{}, 1)} }

// arnOf returns the ARN of a topic, and creates the topic if it does not exist.
func (b *broker) arnOf(ctx context.Context, topic string) (string, error) {
	if arn, ok := b.topics.arns.Load(topic); ok {
		return arn.(string), nil
	}
	if err := checkTopic(topic); err != nil {
		return "", err
	}
	// SNS limits these requests per second, and with a mutex waiting callers
	// would ignore their contexts.
	select {
	case b.topics.creating <- struct{}{}:
		defer func() { <-b.topics.creating }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if arn, ok := b.topics.arns.Load(topic); ok {
		return arn.(string), nil
	}
	out, err := b.SNS.CreateTopic(ctx, &sns.CreateTopicInput{Name: &topic})
	if err != nil {
		return "", fmt.Errorf("creating the topic: %w", err)
	}
	arn := aws.ToString(out.TopicArn)
	b.topics.arns.Store(topic, arn)
	return arn, nil
}

// isGone reports whether err says that a topic does not exist.
func isGone(err error) bool {
	gone := (*snstypes.NotFoundException)(nil)
	return errors.As(err, &gone)
}

// lose records that a topic with this ARN, which this process had, is deleted:
// the groups of this process check at once, and messages are refused for a
// while.
func (b *broker) lose(topic, arn string) {
	if !b.topics.arns.CompareAndDelete(topic, arn) {
		return // another goroutine has seen it
	}
	b.topics.lost.Store(topic, time.Now().Add(settleFor))
	b.looked.Clear()
	b.Logger.Warn("relay/aws: a topic was deleted, and its subscriptions with it; it is created again",
		slog.Any("error", errors.New("messages that other processes publish before all handlers have subscribed again do not reach them")), slog.String("topic", topic))
}

// settled returns an error while a deleted topic accepts nothing.
func (b *broker) settled(topic string) error {
	until, ok := b.topics.lost.Load(topic)
	if !ok {
		return nil
	}
	if wait := time.Until(until.(time.Time)); wait > 0 {
		return &lostError{wait}
	}
	b.topics.lost.CompareAndDelete(topic, until)
	return nil
}

// A lostError is for a topic that was deleted, and its subscriptions with it.
type lostError struct{ wait time.Duration }

func (e *lostError) Error() string {
	return fmt.Sprintf("the topic was deleted, and messages are accepted again in %v, when running handlers have subscribed to it again", e.wait.Round(time.Second))
}

// RetryAfter returns when to try again, for durable handlers.
func (e *lostError) RetryAfter() time.Duration { return e.wait }
