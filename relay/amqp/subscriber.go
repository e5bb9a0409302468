package amqp

import (
	"context"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings/relay"
)

// A subscriber has the subscriptions of a group. All subscribers share a
// connection, and each subscription has a channel.
type subscriber struct {
	broker *broker
	group  relay.Group
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex // running is not added to once ctx has ended
	running sync.WaitGroup
}

func newSubscriber(b *broker, group relay.Group) *subscriber {
	s := &subscriber{broker: b, group: group}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// SubscribeInitialize has the server keep the messages of a topic for the group.
func (s *subscriber) SubscribeInitialize(topic string) error {
	c, err := s.open(s.ctx, topic)
	if err != nil {
		return fmt.Errorf("relay/amqp: the group %q: %w", s.group.Name, err)
	}
	c.close()
	return nil
}

// Subscribe returns the messages of a topic for the group, one after another.
// The subscription goes on when the connection was lost and is back.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	end := func() { stop(); cancel() }
	sub := &subscription{subscriber: s, topic: topic, messages: make(chan *message.Message)}
	c, err := sub.consume(ctx)
	if err != nil {
		end()
		return nil, fmt.Errorf("relay/amqp: the group %q: %w", s.group.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		end()
		c.close()
		return nil, fmt.Errorf("relay/amqp: the group %q: %w", s.group.Name, errClosed)
	}
	s.running.Go(func() {
		defer end()
		sub.run(ctx, c)
	})
	return sub.messages, nil
}

// open returns a new channel, on which it has declared the queue of a topic.
func (s *subscriber) open(ctx context.Context, topic string) (*consumption, error) {
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errUnanswered)
	defer cancel()
	connection, err := s.broker.consuming.get(ctx)
	if err != nil {
		return nil, err
	}
	return await(ctx, func() (*consumption, error) {
		channel, err := connection.Channel()
		if err != nil {
			return nil, err
		}
		if err := s.broker.declareQueue(channel, queueOf(s.group.Name, topic), topic); err != nil {
			_ = channel.Close() // the server has done so
			return nil, err
		}
		return &consumption{
			channel:     channel,
			headerLimit: connection.Config.FrameSize / 2,
			cause:       channel.NotifyClose(make(chan *amqp091.Error, 1)),
		}, nil
	}, (*consumption).close)
}

// Close ends the subscriptions. What they have not acknowledged goes to others
// at once.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// closeChannel closes a channel, and waits for that a little: what is written
// before, the last acknowledgement, has arrived then. If the server does not
// answer, the channel ends with the connection.
func closeChannel(channel *amqp091.Channel) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_, _ = await(ctx, func() (struct{}, error) { return struct{}{}, channel.Close() }, func(struct{}) {})
}
