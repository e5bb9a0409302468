package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-go/tidings/relay"
)

// Declare creates the group's queue for a topic, and subscribes it, unless both
// were seen recently.
func (b *broker) Declare(ctx context.Context, group relay.Group, topic string) error {
	_, err := b.declare(ctx, group, topic)
	return err
}

// declare returns the URL of the group's queue for a topic.
func (b *broker) declare(ctx context.Context, group relay.Group, topic string) (url string, err error) {
	if group.Name == "" {
		return "", errors.New("relay/aws: a group without a name")
	}
	if longest := maxVisibility - maxHold; group.AckWait > longest {
		return "", fmt.Errorf("relay/aws: the group %q has the AckWait %v, and the maximum with SQS is %v: shorten relay.Timeout", group.Name, group.AckWait, longest)
	}
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	name := queueName(group.Name, topic)
	if group.Queue {
		url, err = b.ownQueue(ctx, name)
	} else {
		url, err = b.subscribedQueue(ctx, name, topic)
	}
	if err != nil {
		return "", fmt.Errorf("relay/aws: the group %q for the topic %q: %w", group.Name, topic, err)
	}
	return url, nil
}

// Consume begins to request messages of a topic.
func (b *broker) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	url, err := b.declare(ctx, group, topic)
	if err != nil {
		return nil, err
	}
	if group.AckWait <= 0 {
		group.AckWait = time.Minute
	}
	n := &subscription{broker: b, group: group, topic: topic, url: url, ctx: ctx, handle: handle, size: 1, heard: time.Now()}
	n.verdicts = newVerdicts(n)
	ended := make(chan error, 1)
	go func() {
		n.run()
		ended <- nil
	}()
	return ended, nil
}

// outlive returns a context that ends d after parent.
func outlive(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		stop()
		cancel()
	}
}
