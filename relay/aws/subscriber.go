package aws

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings/relay"
)

// A subscriber is a message.Subscriber for a group.
type subscriber struct {
	*broker
	group relay.Group

	closing context.Context // ends with Close
	stop    context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // subscriptions; added to under mu, and not when closed
}

var _ message.SubscribeInitializer = (*subscriber)(nil)

// SubscribeInitialize creates the group's queue for a topic, and subscribes it,
// unless both were seen recently.
func (s *subscriber) SubscribeInitialize(topic string) error {
	_, err := s.declare(s.closing, topic)
	return err
}

// declare returns the URL of the group's queue for a topic.
func (s *subscriber) declare(ctx context.Context, topic string) (url string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	name := queueName(s.group.Name, topic)
	if s.group.Queue {
		url, err = s.ownQueue(ctx, name)
	} else {
		url, err = s.subscribedQueue(ctx, name, topic)
	}
	if err != nil {
		return "", fmt.Errorf("relay/aws: the group %q for the topic %q: %w", s.group.Name, topic, err)
	}
	return url, nil
}

// Subscribe returns a channel with messages of a topic, one at a time: the next
// one follows when the last one is acknowledged or rejected.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	url, err := s.declare(ctx, topic)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("relay/aws: Subscribe on a closed subscriber")
	}
	n := newSubscription(ctx, s, topic, url)
	s.running.Go(n.run)
	return n.output, nil
}

// Close ends the subscriptions. Messages that were not acknowledged go back to
// the queue. It waits for that, but no longer than closeWithin.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
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
