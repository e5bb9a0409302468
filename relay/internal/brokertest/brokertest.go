// Package brokertest consumes from a broker in a test, which can wait for a
// message, and hold it.
package brokertest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/tidings-go/tidings/relay"
)

// A Message is one for which the broker waits until it is acknowledged or
// rejected. Ack and Nack report whether that is the first verdict, which counts.
type Message struct {
	*relay.Message
	verdict chan bool // has room for one
	settled atomic.Bool
}

func (m *Message) Ack() bool  { return m.settle(true) }
func (m *Message) Nack() bool { return m.settle(false) }

func (m *Message) settle(done bool) bool {
	if m.settled.Swap(true) {
		return false
	}
	m.verdict <- done
	return true
}

// A Subscriber consumes for a group.
type Subscriber struct {
	broker  relay.Broker
	group   relay.Group
	closing context.Context
	close   context.CancelFunc
	mu      sync.Mutex
	running sync.WaitGroup // added to under mu, and not after closing has ended
	errs    []error        // of subscriptions that Close has ended
}

// NewSubscriber returns a Subscriber, which must be closed.
func NewSubscriber(b relay.Broker, group relay.Group) *Subscriber {
	s := &Subscriber{broker: b, group: group}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// Declare ends with Close, too.
func (s *Subscriber) Declare(topic string) error {
	if s.closing.Err() != nil {
		return errClosed
	}
	return s.broker.Declare(s.closing, s.group, topic)
}

var errClosed = errors.New("the subscriber is closed")

// Subscribe returns the messages of a topic, one after another. A message
// without a verdict goes back when ctx ends; then the channel is closed.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *Message, error) {
	s.mu.Lock()
	if s.closing.Err() != nil {
		s.mu.Unlock()
		return nil, errClosed
	}
	s.running.Add(1)
	s.mu.Unlock()
	ctx, end := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closing, end)
	messages := make(chan *Message)
	ended, err := s.broker.Consume(ctx, s.group, topic, func(in *relay.Message) bool { return hold(ctx, messages, in) })
	finish := func() {
		stop()
		end()
		s.running.Done()
	}
	if err != nil {
		finish()
		return nil, err
	}
	go func() {
		defer finish()
		if err := <-ended; s.closing.Err() != nil {
			s.mu.Lock()
			s.errs = append(s.errs, err)
			s.mu.Unlock()
		}
		close(messages)
	}()
	return messages, nil
}

// hold waits for the verdict on a message.
func hold(ctx context.Context, to chan<- *Message, in *relay.Message) bool {
	m := &Message{Message: in, verdict: make(chan bool, 1)}
	select {
	case to <- m:
	case <-ctx.Done():
		return false
	}
	select {
	case done := <-m.verdict:
		return done
	case <-ctx.Done():
	}
	select {
	case done := <-m.verdict: // both may be there
		return done
	default:
		return false
	}
}

// Close ends the subscriptions, and waits for that. It returns their errors.
func (s *Subscriber) Close() error {
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
