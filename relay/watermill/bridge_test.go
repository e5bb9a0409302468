package watermill_test

import (
	"context"
	"errors"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings/relay"
)

// A bridge is a broker in terms of Watermill, so that a Broker of this package
// can be made of it again.
type bridge struct{ relay.Broker }

func (b bridge) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		if err := b.Broker.Publish(m.Context(), topic, fromWatermill(m)); err != nil {
			return err
		}
	}
	return nil
}

func (b bridge) Enqueue(group relay.Group, messages ...*message.Message) error {
	for _, m := range messages {
		if err := b.Broker.Enqueue(m.Context(), group, fromWatermill(m)); err != nil {
			return err
		}
	}
	return nil
}

func fromWatermill(m *message.Message) *relay.Message {
	return &relay.Message{ID: m.UUID, Body: m.Payload, Metadata: m.Metadata}
}

func (b bridge) Subscriber(_ context.Context, group relay.Group) (message.Subscriber, error) {
	s := &bridged{broker: b, group: group}
	s.closing, s.close = context.WithCancel(context.Background())
	return s, nil
}

var errClosed = errors.New("the subscriber is closed")

type bridged struct {
	broker  bridge
	group   relay.Group
	closing context.Context
	close   context.CancelFunc
	mu      sync.Mutex
	running sync.WaitGroup // added to under mu, and not after closing has ended
	errs    []error        // of subscriptions that Close has ended
}

func (s *bridged) SubscribeInitialize(topic string) error {
	return s.broker.Declare(s.closing, s.group, topic)
}

func (s *bridged) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if s.closing.Err() != nil {
		return nil, errClosed
	}
	ctx, end := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closing, end)
	messages := make(chan *message.Message)
	ended, err := s.broker.Consume(ctx, s.group, topic, func(in *relay.Message) bool {
		m := message.NewMessageWithContext(ctx, in.ID, in.Body)
		if in.Metadata != nil {
			m.Metadata = in.Metadata
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return false
		}
		select {
		case <-m.Acked():
			return true
		case <-m.Nacked():
			return false
		case <-ctx.Done():
		}
		select {
		case <-m.Acked(): // both may be true
			return true
		default:
			return false
		}
	})
	if err != nil {
		stop()
		end()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		<-ended
		return nil, errClosed
	}
	s.running.Go(func() {
		defer end()
		defer stop()
		if err := <-ended; s.closing.Err() != nil {
			s.mu.Lock()
			s.errs = append(s.errs, err)
			s.mu.Unlock()
		}
		close(messages)
	})
	return messages, nil
}

func (s *bridged) Close() error {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := s.errs
	s.errs = nil // a second Close has nothing to say
	return errors.Join(errs...)
}
