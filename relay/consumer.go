package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidings-go/tidings"
)

// A consumer fetches the events of one handler: from the topics of the events
// that it takes, and from its own retry topic.
type consumer struct {
	tidings.Handler // with the defaults filled in
	settings
	relay *Relay

	ownTopic, retryTopic, deadTopic string // the names at the broker of the handler and its queues

	life context.Context // ends when the consumer must stop fetching
	end  context.CancelFunc
	once sync.Once // of stop

	turn     chan struct{}            // full while a call asks the broker, see ask
	declared atomic.Pointer[[]string] // the topics whose events the broker keeps, sorted; nil: none
	keeping  atomic.Bool              // keep runs
	started  atomic.Bool              // start has succeeded
	calls    atomic.Int32             // running calls of the handler

	mu       sync.Mutex      // not held while the broker is asked
	ctx      context.Context // for the handler; nil before start
	fetching map[string]int  // how many workers each topic has
	workers  sync.WaitGroup  // goroutines that use the broker; see begin
}

func newConsumer(r *Relay, h tidings.Handler) (*consumer, error) {
	c := &consumer{
		Handler: h, relay: r, settings: settings{workers: 1},
		ownTopic: r.topicOfHandler(h.Name), retryTopic: r.topicOfHandler(h.Name + retryQueue), deadTopic: r.topicOfHandler(h.Name + deadQueue),
		turn: make(chan struct{}, 1), fetching: map[string]int{},
	}
	c.life, c.end = context.WithCancel(context.Background())
	return c, c.configure()
}

// ackWait is how long a broker waits until a message is acknowledged.
func (c *consumer) ackWait() time.Duration {
	return c.Timeout + min(max(c.Timeout, 5*time.Second), 30*time.Second)
}

// group returns the group for the topics of events.
func (c *consumer) group() Group {
	return Group{Name: c.relay.config.prefix + c.Name, AckWait: c.ackWait(), Workers: c.settings.workers}
}

// queue returns the group of one of the handler's own queues.
func (c *consumer) queue(kind string) Group {
	g := c.group()
	g.Name += kind
	g.Queue = true
	if kind == deadQueue { // for Redrive, where people may decide
		g.AckWait, g.Workers = c.relay.deadAckWait, 1
	}
	return g
}

// topics returns the topics of the registered events that the handler takes,
// sorted.
func (c *consumer) topics() ([]string, error) {
	var topics []string
	var errs []error
	for _, info := range c.relay.registry.Registrations() {
		if isA(info.EventType, c.EventType) {
			topic, err := c.relay.topicFor(info.Name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			topics = append(topics, topic)
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics), errors.Join(errs...)
}

// start begins to fetch, or continues where an earlier call has failed. It
// waits as long as ctx lasts; handlerCtx is the handlers' context.
func (c *consumer) start(ctx, handlerCtx context.Context) error {
	return c.ask(ctx, func() error {
		if err := c.declareInTurn(); err != nil {
			return err
		}
		c.mu.Lock()
		if c.ctx == nil { // workers read it
			c.ctx = handlerCtx
		}
		c.mu.Unlock()
		if err := c.fetchInTurn(); err != nil {
			return err
		}
		if !c.started.Swap(true) {
			c.warnUnmatched()
		}
		return nil
	})
}

// fetchInTurn starts the missing workers of all topics.
func (c *consumer) fetchInTurn() error {
	for _, topic := range *c.declared.Load() {
		for c.missing(topic, c.settings.workers) {
			if err := c.subscribeInTurn(c.group(), topic, c.handle); err != nil {
				return err
			}
		}
	}
	if c.missing(c.retryTopic, 1) {
		return c.subscribeInTurn(c.queue(retryQueue), c.retryTopic, c.handleAgain)
	}
	return nil
}

// missing reports whether a topic has fewer workers than workers.
func (c *consumer) missing(topic string, workers int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetching[topic] < workers
}

// startSometime starts the consumer as soon as the broker allows it.
func (c *consumer) startSometime(ctx context.Context) {
	if !c.begin() {
		return
	}
	go func() {
		defer c.workers.Done()
		for {
			err := c.start(ctx, ctx)
			if err == nil || c.stopping() {
				return
			}
			c.relay.logger().WarnContext(ctx, "relay: a handler cannot start", slog.String("handler", c.Name), slog.Any("error", err))
			if !c.pause(resubscribeAfter) {
				return
			}
		}
	}()
}

// subscribeInTurn starts a worker that handles the messages of a topic.
func (c *consumer) subscribeInTurn(group Group, topic string, handle func(*delivery, string)) error {
	if !c.begin() {
		return ErrClosed
	}
	w := &worker{consumer: c, group: group, topic: topic, handle: handle, deliveries: make(chan *delivery)}
	if err := w.subscribe(); err != nil {
		c.workers.Done()
		return fmt.Errorf("the topic %q: %w", topic, err)
	}
	c.mu.Lock()
	c.fetching[topic]++
	c.mu.Unlock()
	go w.run()
	return nil
}

// begin adds to the workers, for which stop waits. It returns false if the
// consumer stops, and nothing may begin.
func (c *consumer) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping() {
		return false
	}
	c.workers.Add(1)
	return true
}

// stop ends the fetching. It does not wait until the handler has returned.
func (c *consumer) stop() {
	c.once.Do(func() {
		c.mu.Lock()
		c.end()
		c.mu.Unlock()
		c.relay.running.Go(func() {
			c.workers.Wait()
			c.relay.forget(c)
		})
	})
}

func (c *consumer) stopping() bool {
	return c.life.Err() != nil
}

// pause waits, and reports whether the consumer continues.
func (c *consumer) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.life.Done():
		return false
	}
}
