package relay

import (
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

// WithLogger sets where failures of handlers and of the broker are logged: WARN
// for what is tried again, ERROR for what is dead. The default is
// [slog.Default].
func WithLogger(logger *slog.Logger) Option {
	mustNotBeNil(logger == nil, "WithLogger", "*slog.Logger")
	return optionFunc(func(c *config) { c.logger = logger })
}

// Prefix is put before the names of events and handlers when they become
// topics, queues and groups, so that several systems can share a broker:
// "staging.". It is made of letters, digits and any of ._/:-.
func Prefix(prefix string) Option {
	return optionFunc(func(c *config) { c.prefix = prefix })
}

// Topics sets which topic the events of a registered name are sent to, in
// place of the broker's rule: one per name, see [Broker]. Events of several
// names may share a topic, then all of them keep their order, and each handler
// skips those that it does not take. A handler of a struct also skips names that
// are not registered. A handler of an interface does not, since they may be for
// it: register all events that share its topics. topic may be called
// concurrently, and returns the same for a name each time; it is not called for
// each event. What it returns is not empty, without spaces, and does not end in
// ".retry" or ".dead"; [Prefix] does not apply to it. All processes need the same
// rule.
func Topics(topic func(event string) string) Option {
	mustNotBeNil(topic == nil, "Topics", "function")
	return optionFunc(func(c *config) { c.topics = topic })
}

// defaultMaxSize is what the smallest of the brokers, SNS, takes with the metadata
// of a dead letter.
const defaultMaxSize = 250 << 10

// MaxSize is the most bytes that a message may have. A larger event fails its
// publish (behind [Forward] the forwarding), a larger message that arrives
// becomes a dead letter. The default is
// 250 KiB, which all brokers take.
func MaxSize(bytes int) Option {
	if bytes < 1 {
		panic(fmt.Sprintf("relay: MaxSize(%d): a limit is positive", bytes))
	}
	return optionFunc(func(c *config) { c.maxSize = bytes })
}

// KeyBy gives events of type E a partition key, where the broker has
// partitions: on Kafka, events with the same key keep their order. E may be an
// interface. Of several that fit, the first counts. Events without a key go to
// any partition. The key travels as the attribute "partitionkey" of CloudEvents.
func KeyBy[E tidings.Event](key func(E) string) Option {
	mustNotBeNil(key == nil, "KeyBy", "function")
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
// the message: inject returns what to send, nil for nothing; extract puts that
// back into the ctx of the handler. For W3C trace contexts:
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
// extract gets all metadata of the message, which is whatever a producer has
// put there. Correlation and causation need no option: they are in the event.
func WithTrace(inject func(context.Context) map[string]string, extract func(context.Context, map[string]string) context.Context) Option {
	mustNotBeNil(inject == nil || extract == nil, "WithTrace", "function")
	return optionFunc(func(c *config) { c.inject, c.extract = inject, extract })
}

// A HandlerOption is a setting of one handler, for [Relay.With] and [Receive].
type HandlerOption interface{ applyTo(*settings) }

type handlerOptionFunc func(*settings)

func (f handlerOptionFunc) applyTo(s *settings) { f(s) }

// settings are those of a handler.
type settings struct {
	attempts int
	backoff  func(attempt int) time.Duration
	timeout  time.Duration
	workers  int
}

func newSettings(opts []HandlerOption) settings {
	s := settings{attempts: 5, backoff: defaultBackoff, timeout: 30 * time.Second, workers: 1}
	for _, o := range opts {
		mustNotBeNil(o == nil, "With", "HandlerOption")
		o.applyTo(&s)
	}
	return s
}

// defaultBackoff waits 1 s, 4 s, 16 s and then 64 s each time.
func defaultBackoff(attempt int) time.Duration {
	return time.Second << (2 * min(attempt-1, 3))
}

// Attempts is how often a handler is called for an event before that is a dead
// letter, at least 1. The default is 5. An event that this process does not know
// is looked at ten times, or n times if that is more.
func Attempts(n int) HandlerOption {
	if n < 1 {
		panic(fmt.Sprintf("relay: Attempts(%d): a handler is called at least once", n))
	}
	return handlerOptionFunc(func(s *settings) { s.attempts = n })
}

// Backoff is the least time to wait after an attempt has failed; attempts count
// from 1. Other events go on meanwhile, but an event that is to be tried again
// may wait for one that is due later, so the waits should not differ by hours.
// The default is 1 s, 4 s, 16 s and then 64 s.
func Backoff(wait func(attempt int) time.Duration) HandlerOption {
	mustNotBeNil(wait == nil, "Backoff", "function")
	return handlerOptionFunc(func(s *settings) { s.backoff = wait })
}

// Timeout is when the ctx of an attempt ends; the default is 30 s. A broker that
// has not heard of a message for as long again, at least 5 s and at most 30 s,
// gives it to another consumer. Where brokers do not notice that a process has
// died (NATS, Redis, SQS), that is how long the events wait which it had.
func Timeout(d time.Duration) HandlerOption {
	if d <= 0 {
		panic(fmt.Sprintf("relay: Timeout(%v): a timeout is positive", d))
	}
	return handlerOptionFunc(func(s *settings) { s.timeout = d })
}

// ackWait is how long a broker waits for word of a message.
func (s settings) ackWait() time.Duration {
	return s.timeout + min(max(s.timeout, 5*time.Second), 30*time.Second)
}

// Workers is how many events the handler takes at once in this process; the
// default is 1, which keeps the order of a topic. (With more than one process
// there is an order only within a partition of Kafka.)
func Workers(n int) HandlerOption {
	if n < 1 {
		panic(fmt.Sprintf("relay: Workers(%d): at least one has to work", n))
	}
	return handlerOptionFunc(func(s *settings) { s.workers = n })
}

func mustNotBeNil(isNil bool, function, what string) {
	if isNil {
		panic(fmt.Sprintf("relay: %s with a nil %s", function, what))
	}
}
