package relay

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidings-go/tidings"
)

// An Option is an option of [Open] and [New].
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	logger  *slog.Logger
	prefix  string
	topics  func(event string) string // nil: the broker's rule
	maxSize int
	keys    []func(tidings.Event) (key string, ok bool)
	inject  func(context.Context) map[string]string
	extract func(context.Context, map[string]string) context.Context
}

// WithLogger sets the logger for failures of handlers and of the broker: WARN
// for what is retried, ERROR for dead letters. The default is [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	mustNotBeNil(logger == nil, "WithLogger", "*slog.Logger")
	return optionFunc(func(c *config) { c.logger = logger })
}

// WithPrefix sets a prefix for the names of events and handlers when they become
// topics, queues and groups, so that several systems can share a broker:
// "staging.". It may contain letters, digits and any of ._/:-.
func WithPrefix(prefix string) Option {
	return optionFunc(func(c *config) { c.prefix = prefix })
}

// WithTopics sets the topic for the events of a registered name, in place of the
// broker's rule: one topic per name, see [Broker]. If several names share a
// topic, all their events keep their order, and each handler skips events that
// it does not take. A handler of a struct also skips names that are not
// registered. A handler of an interface does not, since they may be for it:
// register all events that share its topics. topic may be called concurrently,
// and must return the same for a name each time; it is not called for each
// event. Its result must not be empty, contain spaces, or end in ".retry" or
// ".dead"; [WithPrefix] does not apply to it. All processes need the same rule.
func WithTopics(topic func(event string) string) Option {
	mustNotBeNil(topic == nil, "WithTopics", "function")
	return optionFunc(func(c *config) { c.topics = topic })
}

// defaultMaxSize is the maximum of the smallest broker, SNS, with the metadata
// of a dead letter.
const defaultMaxSize = 250 << 10

// WithMaxSize limits the size of a message, in bytes. Publish fails for a larger
// event (with [Forward], the forwarding fails); a larger message that arrives
// becomes a dead letter. The default is 250 KiB, which all brokers take.
func WithMaxSize(bytes int) Option {
	if bytes < 1 {
		panic(fmt.Sprintf("relay: WithMaxSize(%d): must be >= 1", bytes))
	}
	return optionFunc(func(c *config) { c.maxSize = bytes })
}

// WithKeyBy sets the partition key of events of type E, for brokers with
// partitions: on Kafka, events with the same key keep their order. E may be an
// interface. If several match, the first applies. Events without a key go to
// any partition. The key is sent as the CloudEvents attribute "partitionkey".
func WithKeyBy[E tidings.Event](key func(E) string) Option {
	mustNotBeNil(key == nil, "WithKeyBy", "function")
	return optionFunc(func(c *config) {
		c.keys = append(c.keys, func(event tidings.Event) (string, bool) {
			e, ok := event.(E)
			if !ok {
				return "", false
			}
			return key(e), true
		})
	})
}

// WithTrace carries a trace from the publisher to the handlers, as metadata of
// the message: inject returns the values to send, nil for none; extract puts
// them back into the ctx of the handler. For W3C trace contexts:
//
//	relay.WithTrace(
//		func(ctx context.Context) map[string]string {
//			carrier := propagation.MapCarrier{}
//			propagator.Inject(ctx, carrier)
//			return carrier
//		},
//		func(ctx context.Context, carrier map[string]string) context.Context {
//			return propagator.Extract(ctx, propagation.MapCarrier(carrier))
//		})
//
// extract gets all metadata of the message, whatever its producer has put
// there. Correlation and causation need no option: they are in the event.
func WithTrace(inject func(context.Context) map[string]string, extract func(context.Context, map[string]string) context.Context) Option {
	mustNotBeNil(inject == nil || extract == nil, "WithTrace", "function")
	return optionFunc(func(c *config) { c.inject, c.extract = inject, extract })
}

// A handlerOption is an option for the handlers of a [Relay].
type handlerOption struct {
	name  string
	apply func(*settings)
}

func (o handlerOption) String() string { return "relay." + o.name }

// settings are what [tidings.Handler] has no field for.
type settings struct {
	workers  int
	receives bool // for Receive
}

// configure applies the options of the handler, and the defaults.
func (c *consumer) configure() error {
	c.Attempts = cmp.Or(c.Attempts, 5)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	if c.Backoff == nil {
		c.Backoff = defaultBackoff
	}
	for _, o := range c.Options {
		own, ok := o.(handlerOption)
		if !ok {
			return fmt.Errorf("relay: %v is for another transport", o)
		}
		own.apply(&c.settings)
	}
	return nil
}

// defaultBackoff waits 1 s, 4 s, 16 s and then 64 s each time.
func defaultBackoff(attempt int) time.Duration {
	return time.Second << (2 * min(attempt-1, 3))
}

// Workers sets how many events the handler handles at once in this process; the
// default is 1, which keeps the order of a topic. (With more than one process
// only a partition of Kafka keeps the order.)
func Workers(n int) tidings.SubscribeOption {
	if n < 1 {
		panic(fmt.Sprintf("relay: Workers(%d): at least one has to work", n))
	}
	return tidings.TransportOption(handlerOption{"Workers", func(s *settings) { s.workers = n }})
}

func mustNotBeNil(isNil bool, function, what string) {
	if isNil {
		panic(fmt.Sprintf("relay: %s with a nil %s", function, what))
	}
}
