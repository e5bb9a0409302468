package amqp

import (
	"context"
	"fmt"
	"log/slog"
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

	mu      sync.Mutex // nothing is added to the following once ctx has ended
	running sync.WaitGroup
	topics  map[*topic]bool
}

func newSubscriber(b *broker, group relay.Group) *subscriber {
	s := &subscriber{broker: b, group: group, topics: map[*topic]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// SubscribeInitialize makes the server keep the messages of a topic for the
// group.
func (s *subscriber) SubscribeInitialize(topic string) error {
	if err := s.initialize(topic); err != nil {
		return fmt.Errorf("relay/amqp: the group %q: %w", s.group.Name, err)
	}
	return nil
}

func (s *subscriber) initialize(topic string) error {
	if err := s.check(topic); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, answerWithin, errUnanswered)
	defer cancel()
	if err := s.broker.declaring.do(ctx, func(d *desk) error { return s.declare(d, topic) }); err != nil {
		return err
	}
	s.has(topic)
	return nil
}

func (s *subscriber) check(topic string) error {
	if s.ctx.Err() != nil {
		return errClosed
	}
	return checkTopic(topic)
}

// declare creates everything that the group needs for a topic, if missing.
func (s *subscriber) declare(d *desk, topic string) error {
	queue := queueOf(s.group, topic)
	if s.group.Queue {
		return s.broker.topology.queue(d, queue)
	}
	return s.broker.topology.bound(d, queue, topic, func() error {
		s.broker.topics.makeAgain(s.broker.topics.of(topic))
		return nil
	})
}

// has records that the group has a topic, so that it is told when that is
// deleted.
func (s *subscriber) has(topic string) {
	if s.group.Queue {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.broker.topics.of(topic); s.ctx.Err() == nil {
		s.topics[t] = true
		t.add(s)
	}
}

// declareAgain declares a deleted topic again.
func (s *subscriber) declareAgain(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.running.Go(func() {
		if err := s.initialize(t.name); err != nil && s.ctx.Err() == nil {
			s.broker.config.Logger.Warn("relay/amqp: a group cannot declare itself again", slog.Any("error", err), slog.String("group", s.group.Name), slog.String("topic", t.name))
		}
	})
}

// Subscribe returns the messages of a topic for the group, one after another.
// The subscription continues after the connection was lost and is back.
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

// open returns a new channel on which the queue of a topic has been declared.
func (s *subscriber) open(ctx context.Context, topic string) (*consumption, error) {
	if err := s.check(topic); err != nil {
		return nil, err
	}
	connection, err := s.broker.consuming.get(ctx)
	if err != nil {
		return nil, err
	}
	c, err := await(ctx, func() (*consumption, error) {
		d := &desk{open: connection.Channel}
		if err := s.declare(d, topic); err != nil {
			return nil, d.close(err)
		}
		return &consumption{
			channel:     d.channel,
			headerLimit: connection.Config.FrameSize / 2,
			cause:       d.channel.NotifyClose(make(chan *amqp091.Error, 1)),
		}, nil
	}, (*consumption).close)
	if err == nil {
		s.has(topic)
	}
	return c, err
}

// Close ends the subscriptions. Messages that they have not acknowledged are
// redelivered to others at once.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.cancel()
	for t := range s.topics {
		t.remove(s)
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// closeChannel closes a channel, and waits briefly for that: then everything
// written before, including the last acknowledgement, has arrived. If the
// server does not answer, the channel ends with the connection.
func closeChannel(channel *amqp091.Channel) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_, _ = await(ctx, func() (struct{}, error) { return struct{}{}, channel.Close() }, func(struct{}) {})
}
