package amqp

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings/relay"
)

// Declare makes the server keep the messages of a topic for the group.
func (b *broker) Declare(ctx context.Context, group relay.Group, topic string) error {
	if err := b.declare(ctx, group, topic); err != nil {
		return fmt.Errorf("relay/amqp: the group %q: %w", group.Name, err)
	}
	return nil
}

func (b *broker) declare(ctx context.Context, group relay.Group, topic string) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errUnanswered)
	defer cancel()
	if err := b.declaring.do(ctx, func(d *desk) error { return b.declareOn(d, group, topic) }); err != nil {
		return err
	}
	b.topics.of(topic).declaredBy(group, 0)
	return nil
}

// declareOn creates everything that the group needs for a topic, if missing.
func (b *broker) declareOn(d *desk, group relay.Group, topic string) error {
	queue := queueOf(group, topic)
	if group.Queue {
		return b.topology.queue(d, queue)
	}
	return b.topology.bound(d, queue, topic, func() error {
		b.topics.makeAgain(b.topics.of(topic))
		return nil
	})
}

// declareAgain declares a deleted topic again.
func (b *broker) declareAgain(group relay.Group, t *topic) {
	if !t.has(group) {
		return // it has ended meanwhile
	}
	if err := b.declare(b.closing, group, t.name); err != nil && b.closing.Err() == nil {
		b.config.Logger.Warn("relay/amqp: a group cannot declare itself again", slog.Any("error", err), slog.String("group", group.Name), slog.String("topic", t.name))
	}
}

// Consume begins to fetch the messages of a topic for the group, on a channel
// of its own. It continues after the connection was lost and is back.
func (b *broker) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	s := &subscription{broker: b, group: group, topic: topic, handle: handle}
	c, err := s.consume(ctx)
	if err != nil {
		return nil, fmt.Errorf("relay/amqp: the group %q: %w", group.Name, err)
	}
	t := b.topics.of(topic)
	t.declaredBy(group, 1)
	ended := make(chan error, 1)
	go func() {
		s.run(ctx, c)
		t.declaredBy(group, -1)
		ended <- nil
	}()
	return ended, nil
}

// open returns a new channel on which the queue of a topic has been declared.
func (b *broker) open(ctx context.Context, group relay.Group, topic string) (*consumption, error) {
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	connection, err := b.consuming.get(ctx)
	if err != nil {
		return nil, err
	}
	return await(ctx, func() (*consumption, error) {
		d := &desk{open: connection.Channel}
		if err := b.declareOn(d, group, topic); err != nil {
			return nil, d.close(err)
		}
		return &consumption{
			channel:     d.channel,
			headerLimit: connection.Config.FrameSize / 2,
			cause:       d.channel.NotifyClose(make(chan *amqp091.Error, 1)),
		}, nil
	}, (*consumption).close)
}

// closeChannel closes a channel, and waits briefly for that: then everything
// written before, including the last acknowledgement, has arrived. If the
// server does not answer, the channel ends with the connection.
func closeChannel(channel *amqp091.Channel) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_, _ = await(ctx, func() (struct{}, error) { return struct{}{}, channel.Close() }, func(struct{}) {})
}
