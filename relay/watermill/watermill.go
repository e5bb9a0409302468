// Package watermill makes a broker for package relay from a Publisher and
// Subscribers of Watermill.
package watermill

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings/relay"
)

// A Broker is a [relay.Broker] in terms of Watermill. What that says of
// Publish, Enqueue and Topic holds here; their ctx is that of the messages.
type Broker interface {
	message.Publisher
	Enqueue(group relay.Group, messages ...*message.Message) error
	Topic(name string) string

	// Subscriber returns a new Subscriber for a group, which is closed when the
	// group consumes nothing more in this process, or was not declared for
	// twice [relay.DeclareEvery], or with the broker. Each subscription should
	// wait for the verdict on a message before it delivers the next one. A
	// Subscriber should be a [message.SubscribeInitializer]: its
	// SubscribeInitialize is Declare. Otherwise messages are kept for a group
	// only once it consumes.
	Subscriber(ctx context.Context, group relay.Group) (message.Subscriber, error)
}

// New returns b as a broker for [relay.New].
func New(b Broker) relay.Broker {
	return &broker{Broker: b, subscribers: map[string]*shared{}}
}

type broker struct {
	Broker
	mu          sync.Mutex
	subscribers map[string]*shared // by group
}

// A shared is the Subscriber of a group, for all calls with that group.
type shared struct {
	message.Subscriber
	uses     int         // number of calls and subscriptions
	consumes bool        // there was a subscription: the last use closes it
	lease    *time.Timer // otherwise it is closed when nobody declares the group any more
}

func (b *broker) Publish(ctx context.Context, topic string, messages ...*relay.Message) error {
	return b.Broker.Publish(topic, toWatermill(ctx, messages)...)
}

func (b *broker) Enqueue(ctx context.Context, group relay.Group, messages ...*relay.Message) error {
	return b.Broker.Enqueue(group, toWatermill(ctx, messages)...)
}

func toWatermill(ctx context.Context, messages []*relay.Message) []*message.Message {
	all := make([]*message.Message, len(messages))
	for i, m := range messages {
		all[i] = message.NewMessageWithContext(ctx, m.ID, m.Body)
		all[i].Metadata = m.Metadata
	}
	return all
}

func (b *broker) Declare(ctx context.Context, group relay.Group, topic string) error {
	s, err := b.use(ctx, group)
	if err != nil {
		return err
	}
	if i, ok := s.Subscriber.(message.SubscribeInitializer); ok {
		err = i.SubscribeInitialize(topic)
	}
	return errors.Join(err, b.release(group, s))
}

func (b *broker) Consume(ctx context.Context, group relay.Group, topic string, handle func(*relay.Message) bool) (<-chan error, error) {
	s, err := b.use(ctx, group)
	if err != nil {
		return nil, err
	}
	// The subscription outlives ctx: otherwise a message that is being handled
	// would be delivered twice.
	lasting, end := context.WithCancel(context.WithoutCancel(ctx))
	messages, err := s.Subscribe(lasting, topic)
	if err != nil {
		end()
		return nil, errors.Join(err, b.release(group, s))
	}
	b.mu.Lock()
	s.consumes = true
	b.mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		err := pass(ctx, messages, handle)
		err = errors.Join(err, b.release(group, s))
		end()
		for m := range messages {
			m.Nack()
		}
		ended <- err
	}()
	return ended, nil
}

var errEnded = errors.New("relay/watermill: the Subscriber has closed the channel of messages")

// pass calls handle for the messages until ctx ends.
func pass(ctx context.Context, messages <-chan *message.Message, handle func(*relay.Message) bool) error {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case m, ok := <-messages:
			if !ok {
				return errEnded
			}
			if handle(&relay.Message{ID: m.UUID, Body: m.Payload, Metadata: m.Metadata}) {
				m.Ack()
			} else {
				m.Nack()
			}
		}
	}
	return nil
}

// use returns the Subscriber of a group. release must be called for it.
func (b *broker) use(ctx context.Context, group relay.Group) (*shared, error) {
	if s := b.used(group, nil); s != nil {
		return s, nil
	}
	opened, err := b.Subscriber(ctx, group)
	if err != nil {
		return nil, err
	}
	s := b.used(group, &shared{Subscriber: opened})
	if s.Subscriber != opened { // another call has opened one meanwhile
		err = opened.Close()
	}
	return s, err
}

// used adds a use of the group's Subscriber, which is otherwise if there is
// none.
func (b *broker) used(group relay.Group, otherwise *shared) *shared {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.subscribers[group.Name]
	if s == nil {
		if s = otherwise; s == nil {
			return nil
		}
		b.subscribers[group.Name] = s
	}
	if s.lease != nil {
		s.lease.Stop()
	}
	s.uses++
	return s
}

// release ends a use of s.
func (b *broker) release(group relay.Group, s *shared) error {
	b.mu.Lock()
	s.uses--
	if s.uses == 0 && !s.consumes {
		s.lease = time.AfterFunc(2*relay.DeclareEvery, func() { _ = b.closeUnused(group, s) }) // it has fetched nothing
	}
	consumes := s.consumes
	b.mu.Unlock()
	if !consumes {
		return nil
	}
	return b.closeUnused(group, s)
}

// closeUnused closes s unless it is used, or was closed.
func (b *broker) closeUnused(group relay.Group, s *shared) error {
	b.mu.Lock()
	unused := s.uses == 0 && b.subscribers[group.Name] == s
	if unused {
		delete(b.subscribers, group.Name)
	}
	b.mu.Unlock()
	if !unused {
		return nil
	}
	return s.Close()
}

func (b *broker) Close() error {
	b.mu.Lock()
	subscribers := b.subscribers
	b.subscribers = map[string]*shared{}
	b.mu.Unlock()
	var errs []error
	for _, s := range subscribers {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, b.Broker.Close())...)
}
