package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"
	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// Publish appends the messages to the stream, in order, and stops at the first
// that the server does not accept. The adapter's publisher does the same, but
// without the ctx of the message and without a time limit.
func (b *broker) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		if err := b.append(topic, m, b.maxLen); err != nil {
			return fmt.Errorf("relay/redis: publishing to %q: %w", topic, err)
		}
		b.trimmer.mark(topic)
	}
	return nil
}

// Enqueue appends the messages to a group's own stream. The group need not
// exist: it begins at the start of the stream whenever it is declared, and no
// trimmer and no limit removes entries there.
func (b *broker) Enqueue(group relay.Group, messages ...*message.Message) error {
	topic := b.Topic(group.Name)
	for _, m := range messages {
		if err := b.append(topic, m, 0); err != nil {
			return fmt.Errorf("relay/redis: putting a message into the queue %q: %w", topic, err)
		}
	}
	return nil
}

var errNoStream = errors.New("the stream does not exist any more")

// append adds an entry, and creates the stream if it does not exist. It logs
// that if this process knows that the stream existed.
func (b *broker) append(topic string, m *message.Message, maxLen int64) error {
	ctx, cancel := context.WithTimeout(m.Context(), publishTimeout)
	defer cancel()
	fields := fieldsOf(m)
	if err := b.checkSize(ctx, fields); err != nil {
		return err
	}
	add := &goredis.XAddArgs{Stream: topic, MaxLen: maxLen, Approx: maxLen > 0, Values: fields}
	_, add.NoMkStream = b.streams.Load(topic)
	err := b.writes.XAdd(ctx, add).Err()
	if add.NoMkStream && errors.Is(err, goredis.Nil) {
		if _, first := b.streams.LoadAndDelete(topic); first {
			b.logger.Warn("relay/redis: the server has lost a stream, with all of its messages; it is created again", slog.Any("error", errNoStream), slog.String("topic", topic))
		}
		add.NoMkStream = false
		err = b.writes.XAdd(ctx, add).Err()
	}
	if err != nil {
		return b.refusedSize(ctx, fields, err)
	}
	if !add.NoMkStream {
		b.streams.Store(topic, true)
	}
	return nil
}
