package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// A subscriber is the Subscriber of a group.
//
// It is not the adapter's, which closes the client that it was given; ends the
// subscription at an entry that it does not understand; reads up to three
// entries ahead of a slow handler, which are overdue before it sees them; gives
// up when the group is gone after a restart of the server; forgets an
// acknowledgement if it is closed at that moment; loses the entries of an answer
// that got lost until they are overdue; and leaves a consumer behind each time.
type subscriber struct {
	broker  *broker
	group   string
	ackWait time.Duration

	closing context.Context
	stop    context.CancelFunc
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // added to under mu, and not when closed
}

var _ message.SubscribeInitializer = (*subscriber)(nil)

// SubscribeInitialize creates the stream and the group, as far as there are none.
func (s *subscriber) SubscribeInitialize(topic string) error {
	ctx, cancel := context.WithTimeout(s.closing, publishTimeout)
	defer cancel()
	return s.declare(ctx, topic, fromNow)
}

// A new group begins with what is published from now on: what else is in the
// stream depends on when it was last trimmed. A group that the server has
// forgotten begins with what there is, since it was published for it as well.
const (
	fromNow   = "$"
	fromStart = "0"
)

// declare creates the group, if there is none.
func (s *subscriber) declare(ctx context.Context, topic, from string) error {
	err := s.broker.writes.XGroupCreateMkStream(ctx, topic, s.group, from).Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return fmt.Errorf("relay/redis: creating the group %q of %q: %w", s.group, topic, err)
	}
	return nil
}

// Subscribe begins to fetch messages, one at a time.
func (s *subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	declareCtx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := s.declare(declareCtx, topic, fromNow); err != nil {
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
		recovered:  true, // nobody has had this name
	}
	s.running.Go(func() {
		defer end()
		defer stopped()
		sub.run(ctx)
	})
	return sub.messages, nil
}

// consumerName returns a new name: two subscriptions with the same one would
// take each other's entries for their own.
func consumerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "consumer"
	}
	return host + "-" + uuid.NewString()[:13]
}

// Close ends the subscriptions. What was handed on and is not acknowledged goes
// to another subscription at its next look for such, within seconds.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
}
