package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings"
)

// A consumer fetches the events of one handler: from the topics of the events
// that it takes, and from its own topic of what is to be tried again.
type consumer struct {
	relay   *Relay
	name    string
	event   reflect.Type // a struct or an interface
	deliver func(context.Context, tidings.Event) error
	settings

	quit     chan struct{} // closed when nothing more is to be fetched
	quitOnce sync.Once

	declared atomic.Bool // set under mu

	mu       sync.Mutex
	ctx      context.Context // of the handler; nil before start
	main     message.Subscriber
	retry    message.Subscriber
	fetching map[string]int // how many workers each topic has
	workers  sync.WaitGroup // added to under mu, and not after quit is closed
}

func newConsumer(r *Relay, name string, s settings, eventType reflect.Type, deliver func(context.Context, tidings.Event) error) *consumer {
	return &consumer{relay: r, name: name, settings: s, event: eventType, deliver: deliver, quit: make(chan struct{}), fetching: map[string]int{}}
}

// group returns the group for the topics of events.
func (c *consumer) group() Group {
	return Group{Name: c.relay.config.prefix + c.name, AckWait: c.ackWait(), Workers: c.settings.workers}
}

// The queues of a handler's own.
const (
	retryQueue = ".retry" // what it is to try again
	deadQueue  = ".dead"  // what it has given up
)

// queue returns the group of such a queue.
func (c *consumer) queue(kind string) Group {
	g := c.group()
	g.Name += kind
	g.Queue = true
	return g
}

// topics returns the topics of the events that the handler takes, as far as
// they are registered.
func (c *consumer) topics() []string {
	var topics []string
	for _, info := range c.relay.registry.Registrations() {
		if isA(info.EventType, c.event) {
			topics = append(topics, c.relay.topicOf(info.Name))
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// declare has the broker keep events for the handler from now on.
func (c *consumer) declare(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.declareLocked(ctx)
}

func (c *consumer) declareLocked(ctx context.Context) (err error) {
	if c.declared.Load() {
		return nil
	}
	if c.stopping() {
		return fmt.Errorf("relay: the handler %q: %w", c.name, ErrClosed)
	}
	if c.main == nil {
		if c.main, err = c.relay.broker.Subscriber(ctx, c.group()); err != nil {
			return fmt.Errorf("relay: the handler %q: %w", c.name, err)
		}
	}
	if c.retry == nil {
		if c.retry, err = c.relay.broker.Subscriber(ctx, c.queue(retryQueue)); err != nil {
			return fmt.Errorf("relay: the handler %q: %w", c.name, err)
		}
	}
	for _, topic := range c.topics() {
		if err := initialize(c.main, topic); err != nil {
			return fmt.Errorf("relay: the handler %q on the topic %q: %w", c.name, topic, err)
		}
	}
	topic := c.relay.retryTopic(c.name)
	if err := initialize(c.retry, topic); err != nil {
		return fmt.Errorf("relay: the handler %q on the topic %q: %w", c.name, topic, err)
	}
	c.declared.Store(true)
	return nil
}

// subscriber returns a subscriber for a topic of the handler's own, of which the
// broker keeps messages from now on.
func (c *consumer) subscriber(ctx context.Context, queue, topic string) (message.Subscriber, error) {
	s, err := c.relay.broker.Subscriber(ctx, c.queue(queue))
	if err != nil {
		return nil, err
	}
	if err := initialize(s, topic); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func initialize(s message.Subscriber, topic string) error {
	if i, ok := s.(message.SubscribeInitializer); ok {
		return i.SubscribeInitialize(topic)
	}
	return nil
}

// start begins to fetch, or goes on with that where an earlier call has failed.
// ctx is that of the handler.
func (c *consumer) start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.declareLocked(ctx); err != nil {
		return err
	}
	if c.ctx == nil { // workers read it
		c.ctx = ctx
	}
	for _, topic := range c.topics() {
		for c.fetching[topic] < c.settings.workers {
			if err := c.subscribeLocked(c.main, topic, c.handle); err != nil {
				return err
			}
		}
	}
	if topic := c.relay.retryTopic(c.name); c.fetching[topic] == 0 {
		return c.subscribeLocked(c.retry, topic, c.handleAgain)
	}
	return nil
}

// startSometime starts as soon as the broker lets it.
func (c *consumer) startSometime(ctx context.Context) {
	err := c.start(ctx)
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping() {
		return
	}
	c.workers.Go(func() {
		for err != nil {
			c.relay.logger().WarnContext(ctx, "relay: a handler cannot start", slog.String("handler", c.name), slog.Any("error", err))
			if !c.pause(resubscribeAfter) {
				return
			}
			err = c.start(ctx)
		}
	})
}

// subscribeLocked has a worker handle the messages of a topic.
func (c *consumer) subscribeLocked(s message.Subscriber, topic string, handle func(*message.Message, string)) error {
	if c.stopping() {
		return fmt.Errorf("relay: the handler %q: %w", c.name, ErrClosed)
	}
	// The subscription outlives the worker, and ends when the subscriber is
	// closed: a message that is cut off would come twice.
	messages, err := s.Subscribe(context.WithoutCancel(c.ctx), topic)
	if err != nil {
		return fmt.Errorf("relay: the handler %q on the topic %q: %w", c.name, topic, err)
	}
	c.fetching[topic]++
	c.workers.Add(1)
	go (&worker{c, s, topic, handle, messages}).run()
	return nil
}

// stop ends the fetching, and lets go of the broker when the handler has
// returned, for which it does not wait.
func (c *consumer) stop() {
	c.quitOnce.Do(func() {
		c.mu.Lock()
		close(c.quit)
		c.mu.Unlock()
		c.relay.running.Go(func() {
			c.workers.Wait()
			if err := c.closeSubscribers(); err != nil {
				c.relay.logger().Warn("relay: closing a subscription", slog.String("handler", c.name), slog.Any("error", err))
			}
			c.relay.forget(c)
		})
	})
}

func (c *consumer) closeSubscribers() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range []message.Subscriber{c.main, c.retry} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

func (c *consumer) stopping() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// pause waits, and reports whether the consumer goes on.
func (c *consumer) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.quit:
		return false
	}
}
