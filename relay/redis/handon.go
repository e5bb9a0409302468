package redis

import (
	"context"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// handOn passes an entry to the handler, and decides what happens to it.
func (s *subscription) handOn(ctx context.Context, entry goredis.XMessage) {
	for {
		since := time.Now() // when the server began to count, or slightly later
		switch {
		case s.handle(messageOf(entry)):
			s.acked = entry.ID
			return
		case ctx.Err() != nil:
			s.release(ctx, entry.ID, since)
			return
		case !s.renew(ctx, entry.ID, since):
			return
		}
	}
}

// renew restarts the time of an entry, and reports whether the entry still
// belongs to this consumer.
func (s *subscription) renew(ctx context.Context, id string, since time.Time) bool {
	return s.setIdle(ctx, id, since, 0)
}

// release makes an entry overdue, for the next consumer that looks.
func (s *subscription) release(ctx context.Context, id string, since time.Time) {
	s.setIdle(ctx, id, since, s.ackWait)
}

// setIdle sets the idle time of an entry. It does not change an overdue entry,
// which may belong to another consumer. If setIdle fails, the entry will become
// overdue.
func (s *subscription) setIdle(ctx context.Context, id string, since time.Time, idle time.Duration) bool {
	if time.Since(since) >= s.ackWait {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTimeout)
	defer cancel()
	ids, err := s.broker.reads.Do(ctx, "XCLAIM", s.topic, s.group, s.consumer, 0, id, "IDLE", idle.Milliseconds(), "JUSTID").StringSlice()
	if err != nil {
		s.log().Warn("relay/redis: returning a message failed; it will be redelivered later", slog.Any("error", err))
		return false
	}
	return len(ids) > 0
}
