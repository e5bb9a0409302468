package redis

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	goredis "github.com/redis/go-redis/v9"
)

// Publish appends the messages to the stream, in order, and stops at the first
// that the server does not accept. The publisher of the adapter does the same,
// but without the ctx of the message and without a limit of time.
func (b *broker) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		if err := b.append(topic, m); err != nil {
			return fmt.Errorf("relay/redis: publishing to %q: %w", topic, err)
		}
		b.trimmer.mark(topic)
	}
	return nil
}

func (b *broker) append(topic string, m *message.Message) error {
	ctx, cancel := context.WithTimeout(m.Context(), publishTimeout)
	defer cancel()
	return b.writes.XAdd(ctx, &goredis.XAddArgs{Stream: topic, MaxLen: b.maxLen, Approx: b.maxLen > 0, Values: fieldsOf(m)}).Err()
}
