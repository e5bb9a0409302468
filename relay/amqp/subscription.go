package amqp

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rabbitmq/amqp091-go"

	"github.com/tidings-go/tidings/relay"
)

// A subscription is a call of Consume: one message at a time.
type subscription struct {
	*broker
	group  relay.Group
	topic  string
	handle func(*relay.Message) bool
}

// A consumption is the channel of a subscription, until it is lost.
type consumption struct {
	channel     *amqp091.Channel
	deliveries  <-chan amqp091.Delivery
	cause       <-chan *amqp091.Error // why the channel was closed
	headerLimit int
	once        sync.Once // of close: the server allows one
}

func (c *consumption) close() { c.once.Do(func() { closeChannel(c.channel) }) }

// consume opens a channel on which messages arrive.
func (s *subscription) consume(ctx context.Context) (*consumption, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, errUnanswered)
	defer cancel()
	c, err := s.open(ctx, s.group, s.topic)
	if err != nil {
		return nil, err
	}
	_, err = await(ctx, func() (none struct{}, err error) {
		if err := c.channel.Qos(s.prefetch(), 0, false); err != nil {
			return none, err
		}
		c.deliveries, err = c.channel.Consume(queueOf(s.group, s.topic), "", false, false, false, false, nil)
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
	most := s.config.Prefetch
	if wait := s.group.AckWait; wait > 0 {
		most = min(most, int(deliveryTimeout/wait))
	}
	return max(1, most)
}

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// run handles messages until ctx ends, across lost channels.
func (s *subscription) run(ctx context.Context, c *consumption) {
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
	return s.config.Logger.With(slog.String("group", s.group.Name), slog.String("topic", s.topic))
}

// pass handles messages from a channel, until that is closed or given up.
func (s *subscription) pass(ctx context.Context, c *consumption) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d, ok := <-c.deliveries:
			if !ok { // adapters without this check pass on an empty message
				return c.reason()
			}
			if err := s.passOne(ctx, c, &d); err != nil {
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

// passOne handles a message, and sends the verdict. If that takes too long, the
// messages that the handler blocks are released, and it gets no more until it
// has returned.
func (s *subscription) passOne(ctx context.Context, c *consumption, d *amqp091.Delivery) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.channel.IsClosed() { // it goes to another consumer
		return c.reason()
	}
	m := messageOf(d, c.headerLimit)
	inTime := func() bool { return true }
	if wait := s.group.AckWait; wait > 0 {
		inTime = time.AfterFunc(wait, func() {
			s.log().Warn("relay/amqp: a message goes back to the queue", slog.Any("error", errSilent), slog.String("message_id", m.ID))
			c.close()
		}).Stop
	}
	done := s.handle(m)
	switch {
	case !inTime():
		return errSilent
	case done:
		return d.Ack(false)
	case ctx.Err() != nil:
		return ctx.Err() // it goes back with the channel, in its order
	}
	return d.Nack(false, true)
}
