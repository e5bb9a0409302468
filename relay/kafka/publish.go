package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/tidings-go/tidings/relay"
)

// publishWithin limits the time of a Publish.
const publishWithin = 10 * time.Second

// startProducer connects the producer, an idempotent one if that is allowed.
func (c *connection) startProducer(logger *slog.Logger) (err error) {
	config := c.client.Config()
	c.producer, err = sarama.NewAsyncProducerFromClient(c.client)
	if config.Producer.Idempotent && (errors.Is(err, sarama.ErrClusterAuthorizationFailed) || errors.Is(err, sarama.ErrUnsupportedVersion)) {
		logger.Debug("relay/kafka: the cluster forbids idempotent producers")
		config.Producer.Idempotent = false
		c.producer, err = sarama.NewAsyncProducerFromClient(c.client)
	}
	if err != nil {
		return err
	}
	c.results.Go(func() {
		for m := range c.producer.Successes() {
			m.Metadata.(chan error) <- nil
		}
	})
	c.results.Go(func() {
		for e := range c.producer.Errors() {
			e.Msg.Metadata.(chan error) <- e.Err
		}
	})
	return nil
}

// Publish sends messages, and waits until the cluster has stored them.
// Concurrent calls send their messages together.
func (b *broker) Publish(ctx context.Context, topic string, messages ...*relay.Message) error {
	timeout := time.NewTimer(publishWithin)
	defer timeout.Stop()
	c, err := b.connect(ctx)
	if err != nil {
		return err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return errClosed
	}
	results := make([]chan error, len(messages))
	for i, m := range messages {
		if err := c.topics.ensure(ctx, topic); err != nil {
			return err
		}
		results[i] = make(chan error, 1) // buffered, since the publisher may no longer wait
		p := marshal(topic, m)
		p.Metadata = results[i]
		select {
		case c.producer.Input() <- p:
		case <-ctx.Done():
			return notStored(topic, ctx.Err())
		case <-timeout.C:
			return notStored(topic, errTimeout)
		}
	}
	var errs []error
	for i := range messages {
		select {
		case err := <-results[i]:
			if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
				c.topics.forget(topic)
			}
			if err != nil {
				errs = append(errs, notStored(topic, err))
			}
		case <-ctx.Done():
			return notStored(topic, ctx.Err())
		case <-timeout.C:
			return notStored(topic, errTimeout)
		}
	}
	return errors.Join(errs...)
}

var errTimeout = fmt.Errorf("no answer within %v", publishWithin)

func notStored(topic string, err error) error {
	if isTooLarge(err) {
		return fmt.Errorf("relay/kafka: publishing to the topic %q: %w: %w", topic, relay.ErrTooLarge, err)
	}
	return fmt.Errorf("relay/kafka: publishing to the topic %q: a message may not have been stored: %w", topic, err)
}

// isTooLarge reports whether err concerns a message larger than the client
// sends or the cluster accepts.
func isTooLarge(err error) bool {
	local := sarama.ConfigurationError("") // the client has no other error for it
	return errors.Is(err, sarama.ErrMessageSizeTooLarge) || errors.As(err, &local) && strings.Contains(string(local), "MaxMessageBytes")
}

// Close waits for running publishes, and ends the connections. It does not wait
// long: messages that the cluster has not answered have failed for their
// publisher.
func (b *broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if b.connected == nil {
		return nil
	}
	return b.connected.close()
}

func (c *connection) close() error {
	done := make(chan error, 1)
	go func() { // the client takes no ctx, and may wait for many minutes
		c.producer.AsyncClose()
		c.results.Wait()
		done <- c.client.Close()
	}()
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("relay/kafka: the connections could not be closed within %v: the cluster does not answer", closeWithin)
	}
}
