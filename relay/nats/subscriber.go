package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

// maxWaiting limits how many workers of a group can wait for messages of a
// topic. The server's default is 512. It cannot be changed later.
const maxWaiting = 4096

// A subscriber is a message.Subscriber for a group.
type subscriber struct {
	*broker
	group relay.Group

	closing context.Context // ended by Close
	close   context.CancelFunc

	mu      sync.Mutex
	running sync.WaitGroup // subscriptions; added to under mu, and not after closing has ended
}

func newSubscriber(b *broker, group relay.Group) *subscriber {
	s := &subscriber{broker: b, group: group}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

var errClosed = errors.New("relay/nats: the subscriber is closed")

// SubscribeInitialize makes the server keep messages on a topic for the group.
// It sends one request if nothing is missing.
func (s *subscriber) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(s.closing, answerWithin)
	defer cancel()
	_, err := s.declare(ctx, topic)
	return err
}

// declare creates the stream and the group's consumer if they are missing, and
// returns the server's information about the consumer.
func (s *subscriber) declare(ctx context.Context, topic string) (*jetstream.ConsumerInfo, error) {
	if err := checkSubject(topic); err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	if !s.conn.IsConnected() && !s.conn.IsClosed() {
		return nil, fmt.Errorf("relay/nats: the group %q on the topic %q: %w", s.group.Name, topic, errDisconnected)
	}
	was, had := s.positions.get(s.group.Name, topic)
	if had {
		consumer, err := s.js.Consumer(ctx, was.stream.Config.Name, was.consumer)
		if err == nil && consumer.CachedInfo().Created.Equal(was.made) {
			was.floor = consumer.CachedInfo().AckFloor.Stream
			s.positions.set(s.group.Name, topic, was)
			return consumer.CachedInfo(), nil
		}
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("relay/nats: the consumer %q of the stream %q: %w", was.consumer, was.stream.Config.Name, err)
		}
	}
	stream, err := s.streams.find(ctx, topic, kind(s.group.Queue))
	if err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	c := s.config(stream, topic)
	s.begin(&c, stream, was, had)
	consumer, err := s.consumer(ctx, stream.Config.Name, c, had)
	if err != nil {
		return nil, fmt.Errorf("relay/nats: the consumer %q of the stream %q: %w", c.Name, stream.Config.Name, err)
	}
	info := consumer.CachedInfo()
	s.positions.set(s.group.Name, topic, position{stream.StreamInfo, info.Name, info.Created, info.AckFloor.Stream})
	return info, nil
}

// config returns the settings of the group's consumer on a stream.
func (s *subscriber) config(stream stream, topic string) jetstream.ConsumerConfig {
	c := s.template
	c.Name = assetOf(s.group.Name)
	if stream.Config.Name != assetOf(topic) { // the stream also has other topics
		c.Name = cut(c.Name + "@" + assetOf(topic))
	}
	c.Durable, c.AckPolicy, c.AckWait = c.Name, jetstream.AckExplicitPolicy, s.group.AckWait
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
func (s *subscriber) begin(c *jetstream.ConsumerConfig, stream stream, was position, had bool) {
	all := func() {
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverAllPolicy, 0, nil
	}
	switch {
	case stream.isNew, stream.Config.Retention == jetstream.WorkQueuePolicy:
		all()
	case had && isSame(was.stream, stream.StreamInfo) && was.floor <= stream.State.LastSeq:
		c.DeliverPolicy, c.OptStartSeq, c.OptStartTime = jetstream.DeliverByStartSequencePolicy, was.floor+1, nil
	case had, s.group.Queue, stream.wasMadeAgain(againFor):
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
func (s *subscriber) consumer(ctx context.Context, stream string, c jetstream.ConsumerConfig, had bool) (jetstream.Consumer, error) {
	consumer, err := s.js.Consumer(ctx, stream, c.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = s.js.CreateConsumer(ctx, stream, c)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another process has just created it
			return s.js.Consumer(ctx, stream, c.Name)
		}
		return consumer, err
	}
	if err != nil || had || consumer.CachedInfo().Config.AckWait == c.AckWait {
		return consumer, err
	}
	existing := consumer.CachedInfo().Config
	existing.AckWait = c.AckWait
	return s.js.UpdateConsumer(ctx, stream, existing)
}

// Subscribe returns a channel with messages of a topic, one at a time: the next
// one follows when the last one is acknowledged or rejected.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	declaring, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	consumer, err := s.declare(declaring, topic)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
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
	s.close()
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
	case <-s.closing.Done():
	case <-ctx.Done():
	}
	return false
}
