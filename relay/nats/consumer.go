package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

// maxWaiting limits how many workers of a group can wait for messages of a
// topic. The server's default is 512. It cannot be changed later.
const maxWaiting = 4096

// Declare makes the server keep messages on a topic for the group. It sends one
// request if nothing is missing.
func (b *broker) Declare(ctx context.Context, group relay.Group, topic string) error {
	_, err := b.declare(ctx, group, topic, answerWithin)
	return err
}

// declare creates the stream and the group's consumer if they are missing, and
// returns the server's information about the consumer.
func (b *broker) declare(ctx context.Context, group relay.Group, topic string, within time.Duration) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if group.AckWait <= 0 {
		return nil, fmt.Errorf("relay/nats: the group %q has the AckWait %v, which must be positive", group.Name, group.AckWait)
	}
	if err := checkSubject(topic); err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	if !b.conn.IsConnected() && !b.conn.IsClosed() {
		return nil, fmt.Errorf("relay/nats: the group %q on the topic %q: %w", group.Name, topic, errDisconnected)
	}
	was, had := b.positions.get(group.Name, topic)
	if had {
		consumer, err := b.js.Consumer(ctx, was.stream.Config.Name, was.consumer)
		if err == nil && consumer.CachedInfo().Created.Equal(was.made) {
			was.floor = consumer.CachedInfo().AckFloor.Stream
			b.positions.set(group.Name, topic, was)
			return consumer.CachedInfo(), nil
		}
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("relay/nats: the consumer %q of the stream %q: %w", was.consumer, was.stream.Config.Name, err)
		}
	}
	stream, err := b.streams.find(ctx, topic, kind(group.Queue))
	if err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	c := b.configOf(group, stream, topic)
	begin(&c, group, stream, was, had)
	consumer, err := b.consumer(ctx, stream.Config.Name, c, had)
	if err != nil {
		return nil, fmt.Errorf("relay/nats: the consumer %q of the stream %q: %w", c.Name, stream.Config.Name, err)
	}
	info := consumer.CachedInfo()
	b.positions.set(group.Name, topic, position{stream.StreamInfo, info.Name, info.Created, info.AckFloor.Stream})
	return info, nil
}

// config returns the settings of the group's consumer on a stream.
func (b *broker) configOf(group relay.Group, stream stream, topic string) jetstream.ConsumerConfig {
	c := b.template
	c.Name = assetOf(group.Name)
	if stream.Config.Name != assetOf(topic) { // the stream also has other topics
		c.Name = cut(c.Name + "@" + assetOf(topic))
	}
	c.Durable, c.AckPolicy, c.AckWait = c.Name, jetstream.AckExplicitPolicy, group.AckWait
	if !slices.Equal(stream.Config.Subjects, []string{topic}) {
		c.FilterSubject = topic
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = maxWaiting
	}
	return c
}

// begin sets where a new consumer begins. A consumer that this process has had
// continues where it was. If the stream is another one than then, all its
// messages are for the group.
func begin(c *jetstream.ConsumerConfig, group relay.Group, stream stream, was position, had bool) {
	all := func() {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverAllPolicy, 0, nil
	}
	switch {
	case stream.isNew, stream.Config.Retention == jetstream.WorkQueuePolicy:
		all()
	case had && isSame(was.stream, stream.StreamInfo) && was.floor <= stream.State.LastSeq:
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartSequencePolicy, was.floor+1, nil
	case had, group.Queue, stream.wasMadeAgain(againFor):
		all()
	}
}

// againFor is how long after a stream was created again a group is assumed to
// have existed before, although this process does not know it: the process may
// have been restarted at the same time.
const againFor = time.Hour

// consumer creates a consumer, unless it exists. In an existing one it sets
// only AckWait, and only in a process that is new to it: much else cannot be
// changed, or an operator has changed it, and processes of two versions would
// set it in turns.
func (b *broker) consumer(ctx context.Context, stream string, c jetstream.ConsumerConfig, had bool) (jetstream.Consumer, error) {
	consumer, err := b.js.Consumer(ctx, stream, c.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = b.js.CreateConsumer(ctx, stream, c)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another process has just created it
			return b.js.Consumer(ctx, stream, c.Name)
		}
		return consumer, err
	}
	if err != nil || had || consumer.CachedInfo().Config.AckWait == c.AckWait {
		return consumer, err
	}
	existing := consumer.CachedInfo().Config
	existing.AckWait = c.AckWait
	return b.js.UpdateConsumer(ctx, stream, existing)
}

// Consume begins to call handle for the messages of a topic.
func (b *broker) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	consumer, err := b.declare(ctx, group, topic, answerWithin)
	if err != nil {
		return nil, err
	}
	n, err := newSubscription(ctx, b, group, topic, consumer, handle)
	if err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.run() }()
	return ended, nil
}

// pause waits, and returns false if ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
