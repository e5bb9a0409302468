package amqp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// A broker is the publisher of a process and a connection for all of its
// subscribers. They have separate connections because a server that is short of
// memory or disk stops reading from a connection that publishes, even the
// acknowledgements, which would help.
//
// It does not use the Publisher and Subscriber of watermill-amqp v3.0.2,
// although messages are the same on the wire. Their faults cannot be fixed from
// outside:
//   - a publisher loses a channel of its pool each time that a connection is
//     lost, until Publish waits forever;
//   - it waits for a confirmation without a limit, and ignores the context;
//   - a connection that comes back is written to a field that other goroutines
//     read: a data race;
//   - a subscriber passes on an empty message when its channel is closed, since
//     it does not check whether there was one;
//   - Close during a reconnect leaves a goroutine behind.
type broker struct {
	config    Config
	closing   context.Context // ends with Close
	cancel    context.CancelFunc
	topology  *topology
	publisher *publisher
	consuming *shared[*amqp091.Connection]
	declaring *declarer // on that connection
	topics    *topics
}

// holdOff is the minimum time between two attempts to connect after a failure.
const holdOff = 250 * time.Millisecond

func newBroker(config Config) *broker {
	b := &broker{
		config:    config,
		topology:  &topology{queueType: config.QueueType, logger: config.Logger},
		publisher: newPublisher(config),
		consuming: &shared[*amqp091.Connection]{
			create:  config.Dial,
			alive:   func(c *amqp091.Connection) bool { return !c.IsClosed() },
			dispose: closeConnection,
			pause:   holdOff,
		},
		topics: &topics{logger: config.Logger},
	}
	b.closing, b.cancel = context.WithCancel(context.Background())
	b.topics.declareAgain = b.declareAgain
	b.declaring = newDeclarer(b.consuming)
	return b
}

// Topic returns the name of the exchange for a name.
func (b *broker) Topic(name string) string { return nameOf(name) }

// Publish returns when the server has all messages. It may return an error for
// a message that the server has nonetheless.
func (b *broker) Publish(ctx context.Context, topic string, messages ...*relay.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if err := b.publish(ctx, topic, messages); err != nil {
		return fmt.Errorf("relay/amqp: publishing to %q: %w", topic, err)
	}
	return nil
}

func (b *broker) publish(ctx context.Context, name string, messages []*relay.Message) error {
	if err := checkTopic(name); err != nil {
		return tidings.Permanent(err)
	}
	t := b.topics.of(name)
	if err := t.refusal(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errUnanswered)
	defer cancel()
	var since time.Time // of the last connection that was used
	unrouted, err := b.publisher.transmit(ctx, address{exchange: name}, messages, func(ctx context.Context, l *lane) error {
		since = l.link.since
		return l.prepare(ctx, name, func(d *desk) error {
			return b.topology.exchange(d, name, func() error { return b.topics.gone(t, l.link.since) })
		})
	})
	switch {
	case isNoExchange(err, name):
		return cmp.Or(b.topics.gone(t, since), err)
	case err != nil:
		return err
	case len(unrouted) == 0:
		t.reached()
		return nil
	case t.hasGroups():
		return b.topics.gone(t, since)
	}
	return nil // no group has declared itself
}

// isNoExchange reports whether the server has said that this exchange does not
// exist.
func isNoExchange(err error, exchange string) bool {
	ended := (*laneError)(nil)
	return errors.As(err, &ended) && is(err, amqp091.NotFound) && isOf(err, exchange)
}

// Enqueue puts messages into the queue of a group, through the server's default
// exchange, which cannot be deleted and has no other queue of that name.
func (b *broker) Enqueue(ctx context.Context, group relay.Group, messages ...*relay.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if err := b.enqueue(ctx, nameOf(group.Name), messages); err != nil {
		return fmt.Errorf("relay/amqp: the queue of the group %q: %w", group.Name, err)
	}
	return nil
}

func (b *broker) enqueue(ctx context.Context, queue string, messages []*relay.Message) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errUnanswered)
	defer cancel()
	declared := false
	for range enqueueAttempts {
		unrouted, err := b.publisher.transmit(ctx, address{key: queue}, messages, func(ctx context.Context, l *lane) error {
			if !declared {
				return nil
			}
			_, err := await(ctx, func() (none struct{}, err error) {
				d := &desk{open: l.link.Channel}
				return none, d.close(b.topology.queue(d, queue))
			}, func(struct{}) {})
			return unanswered(err, &l.link.alarm)
		})
		if err != nil || len(unrouted) == 0 {
			return err
		}
		messages, declared = unrouted, true
	}
	return errors.New("the server has returned a message although the queue was declared: another client deletes it repeatedly")
}

// enqueueAttempts: one for a queue that exists, one for a queue that was
// declared, and more in case it is deleted again.
const enqueueAttempts = 4

// Close closes both connections. Messages that are being published fail.
func (b *broker) Close() error {
	b.cancel()
	var both sync.WaitGroup
	both.Go(b.consuming.close)
	both.Go(b.publisher.close)
	both.Wait()
	return nil
}

const closeWithin = 3 * time.Second

// closeConnection closes c properly if the server answers in time, and closes
// it in any case. The deadline alone is not enough: the client library
// postpones it whenever a heartbeat arrives, and a server sends those even if
// it does not read because it is out of memory.
func closeConnection(c *amqp091.Connection) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = c.CloseDeadline(time.Now().Add(closeWithin)) // a missing answer does no harm
	}()
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	for {
		select {
		case <-closed:
			return
		case <-timer.C:
			go func() { _ = c.CloseDeadline(time.Now()) }() // ends with the other one
			timer.Reset(100 * time.Millisecond)
		}
	}
}
