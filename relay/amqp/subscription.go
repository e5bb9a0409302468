package amqp

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/rabbitmq/amqp091-go"
)

// A subscription is a call of Subscribe: one message at a time.
type subscription struct {
	subscriber *subscriber
	topic      string
	messages   chan *message.Message
}

// A consumption is the channel of a subscription, until it is lost.
type consumption struct {
	channel     *amqp091.Channel
	deliveries  <-chan amqp091.Delivery
	cause       <-chan *amqp091.Error // why the channel was closed
	headerLimit int
}

func (c *consumption) close() { closeChannel(c.channel) }

// consume opens a channel on which messages arrive.
func (s *subscription) consume(ctx context.Context) (*consumption, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errUnanswered)
	defer cancel()
	c, err := s.subscriber.open(ctx, s.topic)
	if err != nil {
		return nil, err
	}
	_, err = await(ctx, func() (none struct{}, err error) {
		if err := c.channel.Qos(s.prefetch(), 0, false); err != nil {
			return none, err
		}
		c.deliveries, err = c.channel.Consume(queueOf(s.subscriber.group, s.topic), "", false, false, false, false, nil)
		return none, err
	}, func(struct{}) {})
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// deliveryTimeout is when RabbitMQ closes the channel of a consumer that has
// not acknowledged a message, even one that waits behind others.
const deliveryTimeout = 30 * time.Minute

// prefetch returns how many messages may wait here: enough to be here in time,
// but few enough for deliveryTimeout even if each takes the maximum time.
func (s *subscription) prefetch() int {
	most := s.subscriber.broker.config.Prefetch
	if wait := s.subscriber.group.AckWait; wait > 0 {
		most = min(most, int(deliveryTimeout/wait))
	}
	return max(1, most)
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// run passes on messages until ctx ends, across lost channels.
func (s *subscription) run(ctx context.Context, c *consumption) {
	defer close(s.messages)
	pause := firstPause
	for {
		began := time.Now()
		cause := s.pass(ctx, c)
		c.close()
		if time.Since(began) > lastPause {
			pause = firstPause
			if errors.Is(cause, errCancelled) {
				pause = 0 // the exchange skips the group until it has a queue again
			}
		}
		for c = nil; c == nil; {
			if ctx.Err() != nil {
				return
			}
			s.log().Warn("relay/amqp: a subscription was interrupted, and is retried", slog.Any("error", cause))
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			pause = min(max(2*pause, firstPause), lastPause)
			c, cause = s.consume(ctx)
		}
	}
}

func (s *subscription) log() *slog.Logger {
	return s.subscriber.broker.config.Logger.With(slog.String("group", s.subscriber.group.Name), slog.String("topic", s.topic))
}

// pass passes on messages from a channel, until that is closed or given up.
func (s *subscription) pass(ctx context.Context, c *consumption) error {
	silence := time.NewTimer(time.Hour)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d, ok := <-c.deliveries:
			if !ok { // adapters without this check pass on an empty message
				return c.reason()
			}
			if err := s.passOne(ctx, c, &d, silence); err != nil {
				return err
			}
		}
	}
}

var errCancelled = errors.New("the server has cancelled the consumer: the queue was deleted, or its node is down")

// reason returns why there are no more deliveries.
func (c *consumption) reason() error {
	select {
	case err := <-c.cause:
		return lost(err)
	default:
		return errCancelled
	}
}

// lost returns err, or ErrClosed for a nil *amqp091.Error.
func lost(err *amqp091.Error) error {
	if err == nil {
		return amqp091.ErrClosed
	}
	return err
}

var errSilent = errors.New("a message was not acknowledged in time: it is redelivered, and so are those fetched with it")

// passOne passes on a message, and waits for the answer.
func (s *subscription) passOne(ctx context.Context, c *consumption, d *amqp091.Delivery, silence *time.Timer) error {
	m := messageOf(d, c.headerLimit)
	m.SetContext(ctx)
	select {
	case s.messages <- m:
	case err := <-c.cause: // the message is redelivered
		return lost(err)
	case <-ctx.Done():
		return ctx.Err()
	}
	var silent <-chan time.Time
	if wait := s.subscriber.group.AckWait; wait > 0 {
		silence.Reset(wait)
		silent = silence.C
	}
	select {
	case <-m.Acked():
	case <-m.Nacked():
		return d.Nack(false, true)
	case <-ctx.Done():
		if !isClosed(m.Acked()) { // both may be true
			return ctx.Err()
		}
	case <-silent:
		return s.giveUp(ctx, c, m)
	}
	return d.Ack(false)
}

// giveUp releases the messages that the consumer of m blocks. The consumer gets
// no more messages until it has answered.
func (s *subscription) giveUp(ctx context.Context, c *consumption, m *message.Message) error {
	s.log().Warn("relay/amqp: a message goes back to the queue", slog.Any("error", errSilent), slog.String("message_id", m.UUID))
	c.close()
	select {
	case <-m.Acked():
	case <-m.Nacked():
	case <-ctx.Done():
	}
	return errSilent
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
