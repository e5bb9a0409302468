package redis

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// A Config configures the broker of [New]. Only Client is required; any other
// field may be zero.
type Config struct {
	// Client has the settings of the client library: how to connect to one
	// server, to a cluster or through Sentinel. The broker creates its own
	// clients from it, in which ContextTimeoutEnabled is always true, and the
	// pool of the connections that wait for messages has no limit.
	Client *goredis.UniversalOptions

	// MaxLen is the parameter maxlen, see the package. The default is no limit.
	MaxLen int

	// Logger gets, at level WARN, the problems from which the broker recovers by
	// itself. The default is [slog.Default].
	Logger *slog.Logger
}

// New returns a broker for [relay.New], with settings that a URL cannot express.
// It does not connect: errors show at the first use.
func New(config Config) (relay.Broker, error) {
	if config.Client == nil {
		return nil, errors.New("relay/redis: New with a nil Config.Client")
	}
	if config.MaxLen < 0 {
		return nil, fmt.Errorf("relay/redis: New with the Config.MaxLen %d, which must be positive, or 0 for no limit", config.MaxLen)
	}
	return newBroker(config), nil
}

// Time limits. The server is near or down: longer waits would not help.
const (
	publishTimeout = 10 * time.Second // with all of the client's attempts
	commandTimeout = 5 * time.Second
)

// maxReaders means no limit: a subscription holds a connection while it waits,
// and with the client's limit, 10 per processor, the 21st subscription on two
// processors would stop all publishing.
const maxReaders = 10_000

// broker is a relay.Broker. It has two clients, since reads that wait for
// messages must not delay publishers, and since the client must not retry a
// read: no consumer would get the messages of a lost answer (see recovered).
type broker struct {
	writes, reads goredis.UniversalClient
	maxLen        int64
	logger        *slog.Logger
	trimmer       *trimmer
	evictions     evictions
	streams       sync.Map  // of true by topic: streams that existed
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
		logger: cmp.Or(c.Logger, slog.Default()),
	}
	b.trimmer = newTrimmer(b.writes, b.logger)
	b.evictions = evictions{client: b.writes, logger: b.logger}
	return b
}

// Topic returns name: keys and groups of Redis may contain any bytes.
func (b *broker) Topic(name string) string { return name }

// Close ends the connections.
func (b *broker) Close() error {
	b.closeOnce.Do(func() {
		b.trimmer.close()
		b.closeErr = errors.Join(b.writes.Close(), b.reads.Close())
	})
	return b.closeErr
}
