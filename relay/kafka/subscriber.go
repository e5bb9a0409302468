package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings/relay"
)

// A subscriber has the members of one group that are in this process.
type subscriber struct {
	broker *broker
	group  relay.Group

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu         sync.Mutex            // no member is added after the end of ctx
	gatherings map[string]*gathering // by topic
	members    sync.WaitGroup        // running members
}

var _ message.SubscribeInitializer = (*subscriber)(nil)

// SubscribeInitialize creates the topic, even if it was deleted. Since a group
// begins with the oldest message, the topic alone keeps messages for it.
func (s *subscriber) SubscribeInitialize(topic string) error {
	c, err := s.broker.connect(s.ctx)
	if err != nil {
		return err
	}
	return c.topics.look(s.ctx, topic)
}

// Subscribe adds a member to the group, only for this topic. It retries if the
// cluster does not answer.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	c, err := s.broker.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.topics.look(ctx, topic); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil, errClosed
	}
	if s.gatherings[topic] == nil {
		s.gatherings[topic] = newGathering(s.group.Workers)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	m := &member{
		subscriber: s, topics: c.topics, name: topic, ctx: ctx,
		messages: make(chan *message.Message), silent: make(chan *message.Message, 1), start: s.gatherings[topic],
	}
	s.members.Go(func() {
		defer cancel()
		defer stop()
		defer close(m.messages)
		m.run()
	})
	return m.messages, nil
}

// closeWithin is how long Close waits for a cluster that does not answer.
const closeWithin = 10 * time.Second

// Close commits acknowledged messages and leaves the group. It does not wait
// for other messages, which go to other members.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.members.Wait()
	}()
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("relay/kafka: the group %q could not be left within %v: the cluster does not answer", s.group.Name, closeWithin)
	}
}
