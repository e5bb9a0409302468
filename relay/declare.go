package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"
)

// DeclareEvery is how often the relay declares its groups again, in case they
// were deleted at the broker. The actual interval is up to a fifth shorter.
const DeclareEvery = 5 * time.Second

// ask runs do, which asks the broker, when no other call does so for the
// consumer. It returns when ctx ends or the consumer stops, even if the broker
// does not answer; do then continues, and other calls wait for it.
func (c *consumer) ask(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.life, func() { cancel(ErrClosed) })()
	var err error
	select {
	case c.turn <- struct{}{}:
		if !c.begin() {
			<-c.turn
			return fmt.Errorf("relay: the handler %q: %w", c.Name, ErrClosed)
		}
		err = await(ctx, func() error {
			defer c.workers.Done()
			defer func() { <-c.turn }()
			return do()
		})
	case <-ctx.Done():
		err = unanswered(ctx)
	}
	if err != nil {
		return &wrapped{fmt.Sprintf("the handler %q", c.Name), err}
	}
	return nil
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

// lacks reports whether the topic must still be declared.
func (c *consumer) lacks(topic string) bool { return !c.keeps(topic) && !c.stopping() }

// declare makes the broker keep events for the handler from now on.
func (c *consumer) declare(ctx context.Context) error {
	return c.ask(ctx, func() error { return c.declareInTurn() })
}

// declareInTurn continues after an error, since another topic may be missing.
func (c *consumer) declareInTurn() error {
	topics, err := c.topics()
	errs := []error{err}
	for _, topic := range topics {
		if c.stopping() {
			return ErrClosed
		}
		errs = append(errs, c.declareTopic(c.group(), topic))
	}
	errs = append(errs, c.declareTopic(c.queue(retryQueue), c.retryTopic))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.declared.Store(&topics)
	if !c.keeping.Swap(true) && c.begin() {
		go c.keep()
	}
	return nil
}

func (c *consumer) declareTopic(group Group, topic string) error {
	if err := c.relay.broker.Declare(c.life, group, topic); err != nil {
		return fmt.Errorf("the topic %q: %w", topic, err)
	}
	return nil
}

// keep declares everything again and again, since it may be deleted at the
// broker, and fetches events that were registered meanwhile. It logs an error
// once, and a different one a minute later at the earliest.
func (c *consumer) keep() {
	defer c.workers.Done()
	ctx := context.Background() // ask ends with the consumer
	log := c.relay.logger().With(slog.String("handler", c.Name))
	var said string
	var saidAt time.Time
	for c.pause(DeclareEvery - rand.N(DeclareEvery/5)) {
		err := c.ask(ctx, func() error {
			err := c.declareInTurn()
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
			log.Warn("relay: the queues of a handler cannot be declared again; retrying every few seconds", slog.Any("error", err))
			said, saidAt = err.Error(), time.Now()
		}
	}
}
