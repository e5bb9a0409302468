package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

// maxWaiting is how many workers of a group can wait for messages of a topic.
// The server's default is 512. It cannot be changed later.
const maxWaiting = 4096

// A subscriber is a message.Subscriber for a group.
type subscriber struct {
	*broker
	group relay.Group

	mu      sync.Mutex
	isOver  bool
	closed  chan struct{}
	running sync.WaitGroup // subscriptions; added to under mu, and not after closed is
}

var errClosed = errors.New("relay/nats: the subscriber is closed")

// SubscribeInitialize has the server keep messages on a topic for the group.
func (s *subscriber) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	_, err := s.declare(ctx, topic)
	return err
}

// declare makes the stream and the group's consumer, and returns that.
func (s *subscriber) declare(ctx context.Context, topic string) (jetstream.Consumer, error) {
	if err := checkSubject(topic); err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	k := kind(s.group.Queue)
	if err := s.streams.ensure(ctx, topic, k); err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	consumer, err := s.consumer(ctx, assetOf(topic), k)
	if err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			s.streams.forget(topic)
		}
		return nil, fmt.Errorf("relay/nats: the consumer %q of the stream %q: %w", assetOf(s.group.Name), assetOf(topic), err)
	}
	return consumer, nil
}

// consumer makes the group's consumer on a stream. Of one that exists, only
// AckWait is set: much else cannot be changed, or an operator has changed it.
func (s *subscriber) consumer(ctx context.Context, stream string, k kind) (jetstream.Consumer, error) {
	name := assetOf(s.group.Name)
	consumer, err := s.js.Consumer(ctx, stream, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		c := s.template
		c.Name, c.Durable, c.AckPolicy, c.AckWait = name, name, jetstream.AckExplicitPolicy, s.group.AckWait
		if c.MaxWaiting == 0 {
			c.MaxWaiting = maxWaiting
		}
		if k == queueStream {
			c.DeliverPolicy = jetstream.DeliverAllPolicy
		}
		return s.js.CreateOrUpdateConsumer(ctx, stream, c)
	}
	if err != nil || consumer.CachedInfo().Config.AckWait == s.group.AckWait {
		return consumer, err
	}
	c := consumer.CachedInfo().Config
	c.AckWait = s.group.AckWait
	return s.js.UpdateConsumer(ctx, stream, c)
}

// Subscribe returns a channel with messages of a topic, one at a time: the next
// one comes when the last one is acknowledged or refused.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	declaring, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	consumer, err := s.declare(declaring, topic)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOver {
		return nil, errClosed
	}
	sub, err := newSubscription(ctx, s, topic, consumer)
	if err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	s.running.Go(sub.run)
	return sub.output, nil
}

// Close ends the subscriptions. Messages that were not acknowledged go back to
// the server.
func (s *subscriber) Close() error {
	s.mu.Lock()
	if !s.isOver {
		s.isOver = true
		close(s.closed)
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// pause waits, and reports whether the subscriber is still open.
func (s *subscriber) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closed:
	case <-ctx.Done():
	}
	return false
}
