package redis

import (
	"context"
	"errors"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// removeScript removes a consumer without pending entries: those would be
// removed with it, and lost.
var removeScript = goredis.NewScript(`
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
`)

// goneAfter is how long a consumer may be silent before it is assumed dead. If
// it is not, its name is created again.
const goneAfter = 10 * time.Minute

// leave sends the last acknowledgement and removes this consumer.
func (s *subscription) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTimeout)
	defer cancel()
	pipe := s.broker.writes.Pipeline() // the client that retries
	if acks := s.acknowledge(ctx, pipe); len(acks) > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			s.log().Warn("relay/redis: acknowledging a message failed; it will be redelivered", slog.Any("error", err))
			return
		}
		s.acknowledged()
	}
	s.remove(ctx, s.consumer)
}

// clean removes dead consumers, every cleanInterval.
func (s *subscription) clean(ctx context.Context) {
	if time.Since(s.cleaned) < cleanInterval {
		return
	}
	s.cleaned = time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	consumers, err := s.broker.reads.XInfoConsumers(ctx, s.topic, s.group).Result()
	if err != nil {
		s.cannotRemove(err)
		return
	}
	for _, c := range consumers {
		if c.Idle > max(goneAfter, 2*s.ackWait) && c.Pending == 0 && !s.remove(ctx, c.Name) {
			return
		}
	}
}

func (s *subscription) remove(ctx context.Context, consumer string) bool {
	err := removeScript.Run(ctx, s.broker.writes, []string{s.topic}, s.group, consumer).Err()
	if err != nil && !isForgotten(err) && !errors.Is(err, goredis.ErrClosed) {
		s.cannotRemove(err)
		return false
	}
	return true
}

func (s *subscription) cannotRemove(err error) {
	s.log().Warn("relay/redis: dead consumers cannot be removed from the group", slog.Any("error", err))
}
