package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings/relay"
)

// New returns a broker for [relay.New], with your own settings of the client
// library: for logins that a URL cannot express, compression and so on. Start
// from [NewConfig] and change it; how groups share partitions, and how long
// they wait for a member, is fixed. topic sets how topics are created. The
// broker logs to [slog.Default]. New returns a [relay.UnreachableError] if no
// broker answers.
func New(ctx context.Context, addrs []string, config *sarama.Config, topic sarama.TopicDetail) (relay.Broker, error) {
	if config == nil {
		return nil, errors.New("relay/kafka: New with a nil Config: take the one of NewConfig")
	}
	return connect(ctx, addrs, config, topic, watermill.NewSlogLogger(slog.Default()))
}

// A broker does not use the adapter of Watermill, whose faults cannot be fixed
// from outside. Its subscriber does not commit a message that is acknowledged
// while the group rebalances or the subscriber closes, so every consumer that
// joins causes duplicates; it delays the rebalance with messages that no
// handler has yet; and it does not redeliver a message whose handler hangs. Its
// publisher takes no ctx, and panics if it is closed while in use.
type broker struct {
	addrs  []string
	config *sarama.Config
	detail sarama.TopicDetail // for the topics that are created
	logger watermill.LoggerAdapter

	client   sarama.Client // for topics and producer
	topics   *topics
	producer sarama.AsyncProducer
	results  sync.WaitGroup // readers of the producer's results

	mu     sync.RWMutex // held for reading while the producer is used
	closed bool
}

var errClosed = errors.New("relay/kafka: closed")

// openWithin limits how long to wait for the cluster when opening.
const openWithin = 10 * time.Second

// connect returns a broker that has answered.
func connect(ctx context.Context, addrs []string, config *sarama.Config, detail sarama.TopicDetail, logger watermill.LoggerAdapter) (relay.Broker, error) {
	b := &broker{addrs: slices.Clone(addrs), config: config, detail: detail, logger: logger}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- b.dial() }() // the client takes no ctx
	select {
	case err := <-done:
		if wrong := sarama.ConfigurationError(""); errors.As(err, &wrong) {
			return nil, fmt.Errorf("relay/kafka: %w", err)
		}
		if err != nil {
			return nil, &relay.UnreachableError{Err: err}
		}
		return b, nil
	case <-ctx.Done():
		go func() {
			if <-done == nil {
				if err := b.Close(); err != nil {
					logger.Error("relay/kafka: closing", err, nil)
				}
			}
		}()
		return nil, &relay.UnreachableError{Err: ctx.Err()}
	}
}

func (b *broker) dial() (err error) {
	if b.client, err = sarama.NewClient(b.addrs, producing(b.config)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.client.Close())
		}
	}()
	if b.topics, err = newTopics(b.client, b.detail, b.logger); err != nil { // finds the controller, so there is a cluster
		return err
	}
	return b.startProducer()
}

// Topic returns the topic for a name: see the package.
func (b *broker) Topic(name string) string { return topicOf(name) }

// Enqueue is Publish to a topic that one group reads, beginning with the oldest
// message. A deleted topic is created again.
func (b *broker) Enqueue(group relay.Group, messages ...*message.Message) error {
	topic := b.Topic(group.Name)
	for _, m := range messages {
		err := b.Publish(topic, m)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			err = b.Publish(topic, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Subscriber returns a Subscriber that connects when it subscribes.
func (b *broker) Subscriber(_ context.Context, group relay.Group) (message.Subscriber, error) {
	if group.Name == "" {
		return nil, errors.New("relay/kafka: a group without a name")
	}
	if group.AckWait <= 0 {
		group.AckWait = time.Minute
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &subscriber{broker: b, group: group, ctx: ctx, cancel: cancel, gatherings: map[string]*gathering{}}, nil
}
