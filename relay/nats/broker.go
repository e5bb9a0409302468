package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings/relay"
)

// A broker is JetStream behind a connection.
//
// The Publisher and Subscriber here are our own and not those of watermill-nats,
// which cannot be made sound from outside. As of v2.1.3 its subscribers
//
//   - close the output channel while the callback may be sending on it;
//   - dereference nil, or stop at a message for AckWait, when a header has two
//     values;
//   - drain the connection in Close, which others use;
//   - hold up to 500 messages that were not handled yet, and which the server
//     gives to others meanwhile, because nobody tells it that they are alive;
//   - make streams of which each message goes to one group only;
//
// and its publishers ignore the message's context, and take metadata for
// headers that are commands to the server.
type broker struct {
	js        jetstream.JetStream
	conn      *nats.Conn
	publisher jetstream.JetStream // its own: what waits for answers is cleaned up in Close
	owned     bool                // Close closes the connection
	streams   *streams
	template  jetstream.ConsumerConfig
	logger    watermill.LoggerAdapter
}

// New returns JetStream as a broker, for [relay.New]: with a connection that you
// have made, and that you close after the relay. It should reconnect without end
// (nats.MaxReconnects(-1)), and keep nothing to send later
// (nats.ReconnectBufSize(-1)): with the buffer that is the default, a message may
// be sent although its publish has failed, when the connection was lost in between.
//
// New streams have the settings of stream, save Name, Subjects and Retention, and
// MaxAge where messages are kept until they are acknowledged. Set MaxAge: without,
// messages of events are kept for ever. New consumers have the settings of
// consumer, save Name, Durable, AckPolicy and AckWait.
func New(js jetstream.JetStream, stream jetstream.StreamConfig, consumer jetstream.ConsumerConfig) (relay.Broker, error) {
	return newBroker(js, stream, consumer, watermill.NewSlogLogger(nil))
}

func newBroker(js jetstream.JetStream, stream jetstream.StreamConfig, consumer jetstream.ConsumerConfig, logger watermill.LoggerAdapter) (*broker, error) {
	publisher, err := jetstream.New(js.Conn(), jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(answeredWithin))
	if err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	return &broker{js: js, conn: js.Conn(), publisher: publisher, streams: newStreams(js, stream), template: consumer, logger: logger}, nil
}

const (
	answeredWithin = 5 * time.Second  // a message that was sent
	tryFor         = 10 * time.Second // how long to try to send it
	publishPause   = 100 * time.Millisecond
	maxPending     = 1 << 16 // goroutines that publish at once; more wait
)

func (b *broker) Topic(name string) string { return subjectOf(name) }

// Publish returns when the server has stored the messages, in order.
func (b *broker) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		if err := b.publish(topic, m); err != nil {
			return fmt.Errorf("relay/nats: publishing to %q: %w", topic, err)
		}
	}
	return nil
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

// publish tries for as long as it may do good.
func (b *broker) publish(topic string, m *message.Message) error {
	if err := checkSubject(topic); err != nil {
		return err
	}
	raw, err := marshal(topic, m)
	if err != nil {
		return err
	}
	var until time.Time
	for {
		err := b.try(m.Context(), raw)
		if err == nil || !mayPass(err) {
			return err
		}
		if until.IsZero() {
			until = time.Now().Add(tryFor)
		}
		if time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(publishPause):
		case <-m.Context().Done():
			return errors.Join(m.Context().Err(), err)
		}
	}
}

var errDisconnected = errors.New("the connection to the server is lost, and tried again")

// try does not leave the message with the client, which would send it later,
// although the caller was told that it failed: while there is no connection (the
// buffer for that is switched off in Open), or when no stream answers.
func (b *broker) try(ctx context.Context, raw *nats.Msg) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !b.conn.IsConnected() {
		if b.conn.IsClosed() {
			return nats.ErrConnectionClosed
		}
		return errDisconnected
	}
	if err := b.streams.ensure(ctx, raw.Subject, topicStream); err != nil {
		return err
	}
	future, err := b.publisher.PublishMsgAsync(raw, jetstream.WithRetryAttempts(0))
	if err != nil {
		return err
	}
	select {
	case <-future.Ok():
		return nil
	case err := <-future.Err():
		if errors.Is(err, jetstream.ErrNoStreamResponse) { // perhaps it was deleted
			b.streams.forget(raw.Subject)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayPass reports whether an error may go away by itself: there is no
// connection, or no leader of the stream.
func mayPass(err error) bool {
	for _, e := range []error{
		errDisconnected, nats.ErrDisconnected, nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrTimeout,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled, jetstream.ErrTooManyStalledMsgs,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (b *broker) Subscriber(_ context.Context, group relay.Group) (message.Subscriber, error) {
	if group.AckWait <= 0 {
		return nil, fmt.Errorf("relay/nats: the group %q has the AckWait %v: it is positive", group.Name, group.AckWait)
	}
	return &subscriber{broker: b, group: group, closed: make(chan struct{})}, nil
}

// Close lets acknowledgements reach the server before it closes the connection.
func (b *broker) Close() error {
	b.publisher.CleanupPublisher()
	b.flush()
	if b.owned {
		b.conn.Close()
	}
	return nil
}

// flush waits until the server has read what was sent. Where it does not, there
// is nothing to be done: what was not acknowledged is delivered again.
func (b *broker) flush() {
	if !b.conn.IsConnected() {
		return
	}
	if err := b.conn.FlushTimeout(flushWithin); err != nil {
		b.logger.Debug("relay/nats: flushing the connection", watermill.LogFields{"error": err.Error()})
	}
}

const flushWithin = 3 * time.Second
