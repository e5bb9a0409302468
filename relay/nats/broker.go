package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// A broker is JetStream on a connection.
//
// It does not use the Publisher and Subscriber of watermill-nats, whose faults
// cannot be fixed from outside. As of v2.1.3 its subscribers
//
//   - close the output channel while the callback may be sending on it;
//   - dereference nil, or stop at a message for AckWait, when a header has two
//     values;
//   - drain the connection in Close, although others use it;
//   - hold up to 500 messages that were not handled yet, and do not tell the
//     server that they are alive, so that it redelivers them to others
//     meanwhile;
//   - make streams of which each message goes to one group only;
//
// and its publishers ignore the message's context, and treat metadata as
// headers that are commands to the server.
type broker struct {
	js        jetstream.JetStream
	conn      *nats.Conn
	publisher jetstream.JetStream // its own: Close cleans up what waits for answers
	owned     bool                // Close closes the connection
	streams   *streams
	positions positions
	sending   chan struct{} // full while a message is written: a lock whose wait ends with a ctx
	template  jetstream.ConsumerConfig
	logger    *slog.Logger
}

// A Config configures the broker of [New]. Only JetStream is required; any other
// field may be zero.
type Config struct {
	// JetStream is the client. You open its connection, and close it after the
	// relay. It should reconnect without a limit (nats.MaxReconnects(-1)), and
	// not buffer messages (nats.ReconnectBufSize(-1)): with the default buffer,
	// a message may be sent although its publish has failed, if the connection
	// was lost in between. While a server does not read, a write to it blocks
	// for a minute, and so does all code that uses the connection, even Close;
	// nats.FlusherTimeout(5*time.Second) and nats.ReconnectOnFlusherError()
	// prevent that.
	JetStream jetstream.JetStream

	// Stream has the settings of new streams, except Name, Subjects and
	// Retention, and MaxAge where messages are kept until they are
	// acknowledged. Set its MaxAge: otherwise messages of events are kept
	// forever. The default, if it is nil, is a MaxAge of a week.
	Stream *jetstream.StreamConfig

	// Consumer has the settings of new consumers, except Name, Durable,
	// AckPolicy and AckWait, and FilterSubject in a stream that also has other
	// topics. The default, if it is nil, is the DeliverNewPolicy.
	Consumer *jetstream.ConsumerConfig

	// Logger gets, at level WARN, the problems from which the broker recovers by
	// itself. The default is [slog.Default].
	Logger *slog.Logger
}

// New returns a broker for [relay.New], with settings that a URL cannot express.
// It does not connect: errors show at the first use.
func New(config Config) (relay.Broker, error) {
	js := config.JetStream
	if js == nil {
		return nil, errors.New("relay/nats: New with a nil Config.JetStream")
	}
	stream := jetstream.StreamConfig{MaxAge: defaultMaxAge}
	if config.Stream != nil {
		stream = *config.Stream
	}
	consumer := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	if config.Consumer != nil {
		consumer = *config.Consumer
	}
	logger := cmp.Or(config.Logger, slog.Default())
	publisher, err := jetstream.New(js.Conn(), jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(answeredWithin))
	if err != nil {
		return nil, fmt.Errorf("relay/nats: %w", err)
	}
	return &broker{
		js: js, conn: js.Conn(), publisher: publisher, streams: newStreams(js, stream, logger),
		sending: make(chan struct{}, 1), template: consumer, logger: logger,
	}, nil
}

const (
	answeredWithin = 5 * time.Second  // for a message that was sent
	tryFor         = 10 * time.Second // how long to try to send it
	publishPause   = 100 * time.Millisecond
	maxPending     = 1 << 16 // goroutines that publish at once; others wait
)

func (b *broker) Topic(name string) string { return subjectOf(name) }

// Publish returns when the server has stored the messages, in order.
func (b *broker) Publish(ctx context.Context, topic string, messages ...*relay.Message) error {
	return b.publish(ctx, topic, messages, func(ctx context.Context) error { return b.streams.ensure(ctx, topic) })
}

// Enqueue is Publish to the queue of a group. It declares the group each time:
// then the stream keeps the messages for it, whatever its retention.
func (b *broker) Enqueue(ctx context.Context, group relay.Group, messages ...*relay.Message) error {
	if !group.Queue {
		return fmt.Errorf("relay/nats: Enqueue for the group %q, which has no queue of its own", group.Name)
	}
	topic := b.Topic(group.Name)
	return b.publish(ctx, topic, messages, func(ctx context.Context) error {
		_, err := b.declare(ctx, group, topic, answeredWithin)
		return err
	})
}

// publish calls declare before each attempt.
func (b *broker) publish(ctx context.Context, topic string, messages []*relay.Message, declare func(context.Context) error) error {
	for _, m := range messages {
		if err := b.publishOne(ctx, topic, m, declare); err != nil {
			return fmt.Errorf("relay/nats: publishing to %q: %w", topic, err)
		}
	}
	return nil
}

// publishOne retries while that may help.
func (b *broker) publishOne(ctx context.Context, topic string, m *relay.Message, declare func(context.Context) error) error {
	if err := checkSubject(topic); err != nil {
		return tidings.Permanent(err)
	}
	raw, err := marshal(topic, m)
	if err != nil {
		return tidings.Permanent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor+answeredWithin)
	defer cancel()
	var until time.Time
	for {
		err := b.try(ctx, raw, declare)
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
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

var errDisconnected = errors.New("the connection to the server is lost, and is retried")

// try does not leave the message with the client, which would send it later,
// although the caller was told that it failed: when there is no connection
// (Open turns the buffer for that off), or when no stream answers.
func (b *broker) try(ctx context.Context, raw *nats.Msg, declare func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !b.conn.IsConnected() {
		if b.conn.IsClosed() {
			return nats.ErrConnectionClosed
		}
		return errDisconnected
	}
	if err := declare(ctx); err != nil {
		return err
	}
	future, err := b.send(ctx, raw)
	if err != nil {
		return tooLarge(err)
	}
	select {
	case <-future.Ok():
		return nil
	case err := <-future.Err():
		// Perhaps the stream was deleted. If another client listens on the
		// subject, no server reports that, and there is no answer.
		b.streams.forget(raw.Subject)
		return tooLarge(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send writes a message. While the server does not read, each writer holds the
// lock of the client until FlusherTimeout, and then the client does nothing. So
// only one writer at a time waits for that lock, which no ctx ends, and the
// first one that fails makes the client reconnect.
func (b *broker) send(ctx context.Context, raw *nats.Msg) (jetstream.PubAckFuture, error) {
	select {
	case b.sending <- struct{}{}:
		defer func() { <-b.sending }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	future, err := b.publisher.PublishMsgAsync(raw, jetstream.WithRetryAttempts(0))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.Join(err, b.conn.ForceReconnect())
	}
	return future, err
}

// tooLarge marks the errors for messages that are too large: for the server, as
// the client knows, for the stream, or in the headers.
func tooLarge(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) || hasCode(err, codeMessageTooLarge) || hasCode(err, codeHeaderTooLarge) {
		return fmt.Errorf("%w: %w", relay.ErrTooLarge, err)
	}
	return err
}

// mayPass reports whether an error may be temporary: there is no connection, or
// no leader of the stream or of JetStream.
func mayPass(err error) bool {
	for _, e := range []error{
		errDisconnected, nats.ErrDisconnected, nats.ErrNoResponders, nats.ErrReconnectBufExceeded, nats.ErrTimeout,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled, jetstream.ErrTooManyStalledMsgs,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return hasCode(err, codeNoLeader)
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

// flush waits until the server has read what was sent, and reports whether it
// has. If it has not, messages that were not acknowledged are redelivered.
func (b *broker) flush() bool {
	if !b.conn.IsConnected() {
		return false
	}
	err := b.conn.FlushTimeout(flushWithin)
	if err != nil {
		b.logger.Debug("relay/nats: flushing the connection failed", slog.Any("error", err))
	}
	return err == nil
}

const flushWithin = 3 * time.Second
