package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// Publish appends the messages to the stream, in order, and stops at the first
// that the server does not accept.
func (b *broker) Publish(ctx context.Context, topic string, messages ...*relay.Message) error {
	for _, m := range messages {
		if err := b.append(ctx, topic, m, b.maxLen); err != nil {
			return fmt.Errorf("relay/redis: publishing to %q: %w", topic, err)
		}
		b.trimmer.mark(topic)
	}
	return nil
}

// Enqueue appends the messages to a group's own stream. The group need not
// exist: it begins at the start of the stream whenever it is declared, and no
// trimmer and no limit removes entries there.
func (b *broker) Enqueue(ctx context.Context, group relay.Group, messages ...*relay.Message) error {
	topic := b.Topic(group.Name)
	for _, m := range messages {
		if err := b.append(ctx, topic, m, 0); err != nil {
			return fmt.Errorf("relay/redis: putting a message into the queue %q: %w", topic, err)
		}
	}
	return nil
}

var errNoStream = errors.New("the stream does not exist any more")

// append adds an entry, and creates the stream if it does not exist. It logs
// that if this process knows that the stream existed.
func (b *broker) append(ctx context.Context, topic string, m *relay.Message, maxLen int64) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
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
