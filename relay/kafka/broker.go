package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidings-go/tidings/relay"
)

// A Config configures the broker of [New]. Only Addrs is required; any other field
// may be zero.
type Config struct {
	// Addrs are the addresses, HOST:PORT, of one or more brokers, through which
	// the others of the cluster are found.
	Addrs []string

	// Client has the settings of the client library: for logins that a URL
	// cannot express, compression and so on. The default is
	// [NewClientConfig]; start from that, and change it. How groups share
	// partitions, and how long they wait for a member, is fixed.
	Client *sarama.Config

	// Topic has the settings of new topics. By default they have six
	// partitions, and the replication factor of the cluster.
	Topic sarama.TopicDetail

	// Logger gets, at level WARN, the problems from which the broker recovers by
	// itself. The default is [slog.Default].
	Logger *slog.Logger
}

// New returns a broker for [relay.New], with settings that a URL cannot express.
// It does not connect: errors show at the first use.
func New(config Config) (relay.Broker, error) {
	if len(config.Addrs) == 0 {
		return nil, errors.New("relay/kafka: New with an empty Config.Addrs")
	}
	config.Addrs = slices.Clone(config.Addrs)
	config.Client = cmp.Or(config.Client, NewClientConfig())
	if len(config.Topic.ReplicaAssignment) == 0 {
		config.Topic.NumPartitions = cmp.Or(config.Topic.NumPartitions, defaultPartitions)
		config.Topic.ReplicationFactor = cmp.Or(config.Topic.ReplicationFactor, -1)
	}
	config.Logger = cmp.Or(config.Logger, slog.Default())
	for _, client := range []*sarama.Config{producing(config.Client), consuming(config.Client, 0)} {
		if err := client.Validate(); err != nil {
			return nil, fmt.Errorf("relay/kafka: %w", err)
		}
	}
	return &broker{config: config, dialing: newTurn()}, nil
}

// A broker does not use the adapter of Watermill, whose faults cannot be fixed
// from outside. Its subscriber does not commit a message that is acknowledged
// while the group rebalances or the subscriber closes, so every consumer that
// joins causes duplicates; it delays the rebalance with messages that no
// handler has yet; and it does not redeliver a message whose handler hangs. Its
// publisher takes no ctx, and panics if it is closed while in use.
type broker struct {
	config  Config
	dialing turn // to connect

	gatherings gatherings

	mu        sync.RWMutex // held for reading while the producer is used
	connected *connection  // nil until the cluster has answered once
	closed    bool
}

// A connection is the client for topics and the producer. It lasts as long as
// the broker, and reconnects by itself.
type connection struct {
	client   sarama.Client
	topics   *topics
	producer sarama.AsyncProducer
	results  sync.WaitGroup // readers of the producer's results
}

var errClosed = errors.New("relay/kafka: closed")

// connectWithin limits how long to wait for the cluster when connecting.
const connectWithin = 10 * time.Second

// connect returns the connection, which the first call makes.
func (b *broker) connect(ctx context.Context) (*connection, error) {
	for {
		b.mu.RLock()
		c, closed := b.connected, b.closed
		b.mu.RUnlock()
		switch {
		case closed:
			return nil, errClosed
		case c != nil:
			return c, nil
		}
		if err := b.dial(ctx); err != nil {
			return nil, fmt.Errorf("relay/kafka: connecting: %w", err)
		}
	}
}

// dial connects unless that was done or the broker is closed. If ctx ends
// first, the attempt continues.
func (b *broker) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	return b.dialing.run(ctx, func() error {
		b.mu.RLock()
		done := b.closed || b.connected != nil
		b.mu.RUnlock()
		if done {
			return nil
		}
		c, err := newConnection(b.config)
		if err != nil {
			return err
		}
		b.mu.Lock()
		closed := b.closed
		if !closed {
			b.connected = c
		}
		b.mu.Unlock()
		if closed {
			return c.close()
		}
		return nil
	})
}

func newConnection(config Config) (*connection, error) {
	client, err := sarama.NewClient(config.Addrs, producing(config.Client))
	if err != nil {
		return nil, err
	}
	c := &connection{client: client}
	if c.topics, err = newTopics(client, config.Topic, config.Logger); err == nil { // finds the controller, so there is a cluster
		err = c.startProducer(config.Logger)
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return c, nil
}

// Topic returns the topic for a name: see the package.
func (b *broker) Topic(name string) string { return topicOf(name) }

// Enqueue is Publish to a topic that one group reads, beginning with the oldest
// message. A deleted topic is created again.
func (b *broker) Enqueue(ctx context.Context, group relay.Group, messages ...*relay.Message) error {
	topic := b.Topic(group.Name)
	for _, m := range messages {
		err := b.Publish(ctx, topic, m)
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			err = b.Publish(ctx, topic, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
