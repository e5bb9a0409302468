package redis

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// A subscriber is the Subscriber of a group.
//
// It is not the adapter's, which closes the client that it was given; ends the
// subscription at an entry that it does not understand; reads up to three
// entries ahead of a slow handler, which become overdue before it sees them;
// gives up when the group is gone after a restart of the server; loses an
// acknowledgement if it is closed at that moment; leaves the entries of a lost
// answer until they are overdue; and leaves a consumer behind each time.
type subscriber struct {
	broker  *broker
	group   string
	ackWait time.Duration
	queue   bool // the stream is the group's own

	closing context.Context
	stop    context.CancelFunc
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // added to under mu, and not when closed
}

var _ message.SubscribeInitializer = (*subscriber)(nil)

// SubscribeInitialize creates the stream and the group if they do not exist
// (any more).
func (s *subscriber) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(s.closing, publishTimeout)
	defer cancel()
	return s.declare(ctx, topic)
}

// Subscribe begins to fetch messages, one at a time.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	declareCtx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := s.declare(declareCtx, topic); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("relay/redis: Subscribe on a closed subscriber")
	}
	ctx, end := context.WithCancel(ctx)
	stopped := context.AfterFunc(s.closing, end)
	sub := &subscription{
		subscriber: s,
		topic:      topic,
		consumer:   consumerName(),
		messages:   make(chan *message.Message),
		recovered:  true, // the name is new
	}
	s.running.Go(func() {
		defer end()
		defer stopped()
		sub.run(ctx)
	})
	return sub.messages, nil
}

// consumerName returns a new name: two subscriptions with the same one would
// take each other's entries.
func consumerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "consumer"
	}
	return host + "-" + uuid.NewString()[:13]
}

// Close ends the subscriptions. Messages that were delivered but not
// acknowledged go to another subscription when it next looks for overdue
// entries, within seconds.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
}
