package amqp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings/relay"
)

// A broker is the publisher of a process and a connection for all of its
// subscribers. These are two, because a server that is short of memory or disk
// reads no more from a connection that publishes, not even what acknowledges
// messages, which would help.
//
// The Publisher and Subscriber of watermill-amqp v3.0.2 are not used, although
// messages are the same on the wire. What they do cannot be put right from
// outside:
//   - a publisher loses a channel of its pool each time that a connection is
//     lost, until Publish waits for ever;
//   - it waits for a confirmation without a limit, and without regard to the
//     context;
//   - a connection that comes back is written to a field that others read: a
//     data race;
//   - a subscriber hands on an empty message when its channel is closed, since
//     it does not look whether there was one;
//   - Close during a reconnect leaves a goroutine behind.
type broker struct {
	*publisher
	consuming *shared[*amqp091.Connection]
	config    Config
}

// holdOff is how long after a failed attempt to connect there is no other.
const holdOff = 250 * time.Millisecond

func newBroker(config Config) *broker {
	return &broker{newPublisher(connections(config)), connections(config), config}
}

// connections returns a connection that is opened again when it was lost.
func connections(config Config) *shared[*amqp091.Connection] {
	return &shared[*amqp091.Connection]{
		create:  config.Dial,
		alive:   func(c *amqp091.Connection) bool { return !c.IsClosed() },
		dispose: closeConnection,
		pause:   holdOff,
	}
}

const closeWithin = 3 * time.Second

// closeConnection closes c properly if the server answers in time, and closes
// it in any case. The error says that it did not, which harms nobody.
func closeConnection(c *amqp091.Connection) {
	_ = c.CloseDeadline(time.Now().Add(closeWithin))
}

// Topic returns the name of the exchange for a name.
func (b *broker) Topic(name string) string { return nameOf(name) }

// Subscriber returns a Subscriber of the group.
func (b *broker) Subscriber(_ context.Context, group relay.Group) (message.Subscriber, error) {
	return newSubscriber(b, group), nil
}

// Enqueue puts messages into the queue of a group.
func (b *broker) Enqueue(group relay.Group, messages ...*message.Message) error {
	s, err := b.Subscriber(context.Background(), group)
	if err != nil {
		return err
	}
	topic := b.Topic(group.Name)
	if err := s.(message.SubscribeInitializer).SubscribeInitialize(topic); err != nil {
		return errors.Join(err, s.Close())
	}
	return errors.Join(b.Publish(topic, messages...), s.Close())
}

// Close closes both connections. What is being published fails.
func (b *broker) Close() error {
	b.consuming.close()
	return b.publisher.Close()
}

// declareExchange makes the exchange of a topic, unless it exists.
func declareExchange(ch *amqp091.Channel, topic string) error {
	return ch.ExchangeDeclare(topic, amqp091.ExchangeFanout, true, false, false, false, nil)
}

// declareQueue makes the queue of a group for a topic, unless it exists, and
// has the exchange of the topic fill it.
func (b *broker) declareQueue(ch *amqp091.Channel, queue, topic string) error {
	if err := declareExchange(ch, topic); err != nil {
		return fmt.Errorf("declaring the exchange %q: %w", topic, err)
	}
	arguments := amqp091.Table{amqp091.QueueTypeArg: b.config.QueueType}
	if b.config.QueueType == quorum {
		// A quorum queue of RabbitMQ 4 drops a message that has come back 20
		// times, as it does when consumers restart. How often a handler is
		// to try is the relay's affair.
		arguments[deliveryLimitArg] = deliveryLimit
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, arguments); err != nil {
		if is(err, amqp091.PreconditionFailed) {
			err = fmt.Errorf("%w (a queue keeps the type that it was made with: set queue_type to that, or delete the queue when it is empty)", err)
		}
		return fmt.Errorf("declaring the queue %q: %w", queue, err)
	}
	if err := ch.QueueBind(queue, "", topic, false, nil); err != nil {
		return fmt.Errorf("binding the queue %q to %q: %w", queue, topic, err)
	}
	return nil
}

const (
	deliveryLimitArg = "x-delivery-limit"
	deliveryLimit    = 1_000_000
)

func is(err error, code int) bool {
	e := (*amqp091.Error)(nil)
	return errors.As(err, &e) && e.Code == code
}
