package amqp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/rabbitmq/amqp091-go"
)

// A publisher publishes on one channel, and waits for the server to confirm
// each message. Many goroutines share the channel: their messages are under way
// at the same time.
type publisher struct {
	connections *shared[*amqp091.Connection]
	lanes       *shared[*lane]
}

func newPublisher(connections *shared[*amqp091.Connection]) *publisher {
	p := &publisher{connections: connections}
	p.lanes = &shared[*lane]{
		create:  p.openLane,
		alive:   func(l *lane) bool { return !l.channel.IsClosed() },
		dispose: func(*lane) {}, // it ends with its connection
	}
	return p
}

// A lane is a channel for publishing. The server closes it when something was
// wrong with a message, such as an exchange that was deleted; there is a new
// one then.
type lane struct {
	connection  *amqp091.Connection
	channel     *amqp091.Channel
	headerLimit int
	exchanges   sync.Map // by topic: *shared[struct{}], those that this lane has declared

	ended chan struct{} // closed when the channel is
	cause error         // why; valid once ended is closed
}

// headerRoom is what the frame of the headers holds besides them.
const headerRoom = 2 << 10

func (p *publisher) openLane(ctx context.Context) (*lane, error) {
	connection, err := p.connections.get(ctx)
	if err != nil {
		return nil, err
	}
	channel, err := connection.Channel()
	if err != nil {
		return nil, err
	}
	if err := channel.Confirm(false); err != nil {
		return nil, errors.Join(err, channel.Close())
	}
	l := &lane{connection: connection, channel: channel, ended: make(chan struct{})}
	l.headerLimit = max(0, connection.Config.FrameSize-headerRoom)
	end := channel.NotifyClose(make(chan *amqp091.Error, 1))
	go func() {
		defer close(l.ended)
		l.cause = lost(<-end)
	}()
	return l, nil
}

// Publish returns when the server has all messages. An error may be of one that
// it has nonetheless.
func (p *publisher) Publish(topic string, messages ...*message.Message) error {
	if len(messages) == 0 {
		return nil
	}
	if err := p.publish(topic, messages); err != nil {
		return fmt.Errorf("relay/amqp: publishing to %q: %w", topic, err)
	}
	return nil
}

var errUnanswered = fmt.Errorf("the server has not answered within %v: it may be short of memory or disk, or have lost too many of its nodes", answerWithin)

func (p *publisher) publish(topic string, messages []*message.Message) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(messages[0].Context(), answerWithin, errUnanswered)
	defer cancel()
	l, err := p.lanes.get(ctx)
	if err != nil {
		return err
	}
	if err := l.declare(ctx, topic); err != nil {
		return err
	}
	confirmations := make([]*amqp091.DeferredConfirmation, 0, len(messages))
	for _, m := range messages {
		c, err := l.send(topic, m)
		if err != nil {
			return err
		}
		confirmations = append(confirmations, c)
	}
	for i, c := range confirmations {
		if err := l.wait(ctx, messages[i].Context(), c); err != nil {
			return err
		}
	}
	return nil
}

// declare makes the exchange of a topic, once for each lane: the exchange may
// be gone when a lane has ended. It has a channel of its own, which is closed
// if the server refuses.
func (l *lane) declare(ctx context.Context, topic string) error {
	if s, ok := l.exchanges.Load(topic); ok {
		_, err := s.(*shared[struct{}]).get(ctx)
		return err
	}
	s, _ := l.exchanges.LoadOrStore(topic, &shared[struct{}]{
		alive: func(struct{}) bool { return true },
		create: func(context.Context) (none struct{}, err error) {
			channel, err := l.connection.Channel()
			if err != nil {
				return none, err
			}
			if err := declareExchange(channel, topic); err != nil {
				return none, errors.Join(err, channel.Close())
			}
			return none, channel.Close()
		},
	})
	_, err := s.(*shared[struct{}]).get(ctx)
	return err
}

// send writes a message. It is the limit of a write that ends it if the server
// does not read.
func (l *lane) send(topic string, m *message.Message) (*amqp091.DeferredConfirmation, error) {
	if err := m.Context().Err(); err != nil {
		return nil, err
	}
	p, err := publishing(m, l.headerLimit)
	if err != nil {
		return nil, err
	}
	return l.channel.PublishWithDeferredConfirm(topic, "", false, false, p)
}

// wait waits until the server has confirmed a message.
func (l *lane) wait(ctx, messageCtx context.Context, c *amqp091.DeferredConfirmation) error {
	select {
	case <-c.Done():
	case <-l.ended:
	case <-ctx.Done():
	case <-messageCtx.Done():
	}
	if c.Acked() { // also if it was at the last moment
		return nil
	}
	if err := cmp.Or(context.Cause(ctx), context.Cause(messageCtx)); err != nil {
		return err
	}
	if l.channel.IsClosed() {
		<-l.ended
		return fmt.Errorf("the channel was closed before the server had confirmed the message: %w", l.cause)
	}
	return errors.New("the server has refused the message (a full queue that rejects, or an error of its own)")
}

// Close closes the connection.
func (p *publisher) Close() error {
	p.connections.close()
	p.lanes.close()
	return nil
}
