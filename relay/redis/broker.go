package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// A Config is what [New] needs. The zero value of all but Client will do.
type Config struct {
	// Client says how to connect: to one server, to a cluster or through
	// Sentinel. The broker makes its own clients from it. Of the settings,
	// ContextTimeoutEnabled is always true, and the pool of the connections
	// that wait for messages has no limit.
	Client *goredis.UniversalOptions

	// MaxLen is the parameter maxlen, see the package.
	MaxLen int

	// Logger is told of trouble that the broker gets over by itself. The
	// default is [slog.Default].
	Logger watermill.LoggerAdapter
}

// New returns a broker for [relay.New], with settings of the client that a URL
// does not have. It does not connect: what is wrong shows at the first use.
func New(c Config) (relay.Broker, error) {
	if c.Client == nil {
		return nil, errors.New("relay/redis: a Config without a Client")
	}
	if c.MaxLen < 0 {
		return nil, fmt.Errorf("relay/redis: MaxLen is %d: a limit is positive, and 0 is none", c.MaxLen)
	}
	return newBroker(c), nil
}

// Time limits. The server is near or gone: what takes longer will not succeed.
const (
	publishTimeout = 10 * time.Second // with all of the client's attempts
	commandTimeout = 5 * time.Second
)

// maxReaders is a limit that is none: a subscription holds a connection while
// it waits, and with the client's limit, 10 per processor, the 21st subscription
// on two of them would stop all publishing.
const maxReaders = 10_000

// broker is a relay.Broker. There are two clients, since what waits for messages
// must not keep publishers waiting, and since a read must not be tried again by
// the client: what a lost answer had in it would be nobody's (see recover).
type broker struct {
	writes, reads goredis.UniversalClient
	maxLen        int64
	logger        watermill.LoggerAdapter
	trimmer       *trimmer
	evictions     evictions
	streams       sync.Map  // of true by topic: streams that there were
	positions     positions // of groups
	closeOnce     sync.Once
	closeErr      error
}

func newBroker(c Config) *broker {
	writes, reads := *c.Client, *c.Client
	writes.ContextTimeoutEnabled, reads.ContextTimeoutEnabled = true, true
	reads.MaxRetries = -1
	reads.PoolSize, reads.MaxActiveConns, reads.MinIdleConns = maxReaders, 0, 0
	reads.ReadTimeout = commandTimeout
	b := &broker{
		writes: goredis.NewUniversalClient(&writes),
		reads:  goredis.NewUniversalClient(&reads),
		maxLen: int64(c.MaxLen),
		logger: c.Logger,
	}
	if b.logger == nil {
		b.logger = watermill.NewSlogLoggerWithLevelMapping(slog.Default(), map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug, slog.LevelError: slog.LevelWarn})
	}
	b.trimmer = newTrimmer(b.writes, b.logger)
	b.evictions = evictions{client: b.writes, logger: b.logger}
	return b
}

// Topic returns name: keys and groups of Redis are any bytes.
func (b *broker) Topic(name string) string { return name }

// Subscriber returns a subscriber that shares the connections of b, which it
// does not close.
func (b *broker) Subscriber(_ context.Context, group relay.Group) (message.Subscriber, error) {
	if group.Name == "" {
		return nil, errors.New("relay/redis: a group without a name")
	}
	if group.AckWait <= 0 {
		group.AckWait = time.Minute
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &subscriber{broker: b, group: group.Name, ackWait: group.AckWait, queue: group.Queue, closing: ctx, stop: cancel}, nil
}

// Close ends the connections. Subscribers are closed before.
func (b *broker) Close() error {
	b.closeOnce.Do(func() {
		b.trimmer.close()
		b.closeErr = errors.Join(b.writes.Close(), b.reads.Close())
	})
	return b.closeErr
}
