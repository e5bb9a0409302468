package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tidings-go/tidings"
)

// DeclareEvery is how often the relay declares its groups again, in case that
// somebody has deleted them at the broker. It is this or up to a fifth less.
const DeclareEvery = 5 * time.Second

// ask runs do, which asks the broker, when no other call does so for the
// consumer. It returns when ctx ends or the consumer stops, also if the broker
// does not answer; do then goes on, and others wait for it.
func (c *consumer) ask(ctx context.Context, do func() error) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return c.unanswered(ctx)
	case <-c.quit:
		return c.closed()
	}
	if !c.begin() {
		<-c.turn
		return c.closed()
	}
	done := make(chan error, 1)
	go func() {
		defer c.workers.Done()
		defer func() { <-c.turn }()
		done <- contain(do)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return c.unanswered(ctx)
	case <-c.quit:
		return c.closed()
	}
}

func (c *consumer) unanswered(ctx context.Context) error {
	return fmt.Errorf("relay: the handler %q: the broker has not answered: %w", c.name, context.Cause(ctx))
}

// contain returns a panic of do as an error.
func contain(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &tidings.PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	return do()
}

// keeps reports whether the broker keeps the events of a topic for the handler.
func (c *consumer) keeps(topic string) bool {
	topics := c.declared.Load()
	if topics == nil {
		return false
	}
	_, ok := slices.BinarySearch(*topics, topic)
	return ok
}

// declare has the broker keep events for the handler from now on.
func (c *consumer) declare(ctx context.Context) error {
	return c.ask(ctx, func() error { return c.declareInTurn(ctx) })
}

// declareInTurn goes on after an error, since what is missing may be another
// topic.
func (c *consumer) declareInTurn(ctx context.Context) error {
	if err := c.openInTurn(ctx); err != nil {
		return err
	}
	topics := c.topics()
	var errs []error
	for _, topic := range topics {
		if c.stopping() {
			return c.closed()
		}
		errs = append(errs, c.initialize(c.main, topic))
	}
	errs = append(errs, c.initialize(c.retry, c.relay.retryTopic(c.name)))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.declared.Store(&topics)
	if !c.keeping.Swap(true) && c.begin() {
		go c.keep()
	}
	return nil
}

// openInTurn makes the subscribers, unless they are there.
func (c *consumer) openInTurn(ctx context.Context) (err error) {
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
	return nil
}

func (c *consumer) initialize(s message.Subscriber, topic string) error {
	if err := initialize(s, topic); err != nil {
		return fmt.Errorf("relay: the handler %q on the topic %q: %w", c.name, topic, err)
	}
	return nil
}

func initialize(s message.Subscriber, topic string) error {
	if i, ok := s.(message.SubscribeInitializer); ok {
		return i.SubscribeInitialize(topic)
	}
	return nil
}

// keep declares everything again and again, since somebody may delete it at the
// broker, and fetches what was registered meanwhile. It logs an error once, and
// another one a minute later at the earliest.
func (c *consumer) keep() {
	defer c.workers.Done()
	ctx := context.Background() // ask ends with the consumer
	log := c.relay.logger().With(slog.String("handler", c.name))
	var said string
	var saidAt time.Time
	for c.pause(DeclareEvery - rand.N(DeclareEvery/5)) {
		err := c.ask(ctx, func() error {
			err := c.declareInTurn(ctx)
			if err == nil && c.started.Load() {
				err = c.fetchInTurn()
			}
			return err
		})
		switch {
		case c.stopping():
			return
		case err == nil && said != "":
			log.Info("relay: the queues of a handler are declared again")
			said = ""
		case err != nil && (said == "" || said != err.Error() && time.Since(saidAt) > time.Minute):
			log.Warn("relay: the queues of a handler cannot be declared again; it is tried every few seconds", slog.Any("error", err))
			said, saidAt = err.Error(), time.Now()
		}
	}
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
