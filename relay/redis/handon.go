package redis

import (
	"context"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	goredis "github.com/redis/go-redis/v9"
)

// handOn has an entry handled, and decides what becomes of it.
func (s *subscription) handOn(ctx context.Context, entry goredis.XMessage) {
	since := time.Now() // what the server counts from, or a little later
	msgCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		m := messageOf(entry)
		m.SetContext(msgCtx)
		if !s.offer(ctx, m, entry.ID, &since) {
			return
		}
		select {
		case <-m.Acked():
			s.acked = entry.ID
			return
		case <-m.Nacked():
		case <-ctx.Done():
			// What was acknowledged before the end counts: select chooses
			// at random.
			select {
			case <-m.Acked():
				s.acked = entry.ID
			default:
				s.release(ctx, entry.ID, since)
			}
			return
		}
		if !s.renew(ctx, entry.ID, since) {
			return
		}
		since = time.Now()
	}
}

// offer waits until somebody takes a message, and keeps it from being overdue
// meanwhile.
func (s *subscription) offer(ctx context.Context, m *message.Message, id string, since *time.Time) bool {
	tick := time.NewTicker(s.ackWait / 2)
	defer tick.Stop()
	for {
		select {
		case s.messages <- m:
			return true
		case <-tick.C:
			if !s.renew(ctx, id, *since) {
				return false
			}
			*since = time.Now()
		case <-ctx.Done():
			s.release(ctx, id, *since)
			return false
		}
	}
}

// renew begins the time of an entry anew, and reports whether it is still one's
// own.
func (s *subscription) renew(ctx context.Context, id string, since time.Time) bool {
	return s.setIdle(ctx, id, since, 0)
}

// release makes an entry overdue, for the next in the group that looks.
func (s *subscription) release(ctx context.Context, id string, since time.Time) {
	s.setIdle(ctx, id, since, s.ackWait)
}

// setIdle says how long one has been silent about an entry. It keeps off one
// that is overdue: that may be another's. If it fails, the entry will be overdue
// in time.
func (s *subscription) setIdle(ctx context.Context, id string, since time.Time, idle time.Duration) bool {
	if time.Since(since) >= s.ackWait {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTimeout)
	defer cancel()
	ids, err := s.broker.reads.Do(ctx, "XCLAIM", s.topic, s.group, s.consumer, 0, id, "IDLE", idle.Milliseconds(), "JUSTID").StringSlice()
	if err != nil {
		s.broker.logger.Error("relay/redis: giving a message back has failed, it will come again later", err, s.fields())
		return false
	}
	return len(ids) > 0
}
