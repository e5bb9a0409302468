package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A groupKey names a group of consumers of a stream.
type groupKey struct{ topic, group string }

// positions has the positions of the groups of this process, in case the server
// loses one: the oldest entry that is not acknowledged or, if there is none,
// the last one that was delivered.
type positions struct {
	mu sync.Mutex
	of map[groupKey]string
}

func (p *positions) get(key groupKey) (id string, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, known = p.of[key]
	return id, known
}

func (p *positions) set(key groupKey, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[groupKey]string{}
	}
	p.of[key] = id
}

// Where a group begins. A new group begins with events published from now on:
// which others are in the stream depends on when it was last trimmed.
const (
	fromNow   = "$"
	fromStart = "0"
)

// errNoGroup begins like the server's own answer.
var errNoGroup = errors.New("NOGROUP the stream has no such group")

// declare creates the group if it is missing, and records its position.
func (s *member) declare(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s.broker.evictions.warn(ctx)
	key := groupKey{s.topic, s.group}
	err := s.look(ctx, key)
	if err == nil || !isForgotten(err) {
		return wrapDeclare(err, key)
	}
	_, known := s.broker.positions.get(key)
	err = s.broker.writes.XGroupCreateMkStream(ctx, s.topic, s.group, s.beginning(ctx, key)).Err()
	switch {
	case err == nil && known:
		s.broker.logger.Warn("relay/redis: the server has lost a group, which is created again", slog.Any("error", errNoGroup), slog.String("topic", s.topic), slog.String("group", s.group))
	case err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP"): // another process was faster
		return wrapDeclare(err, key)
	}
	s.broker.streams.Store(s.topic, true)
	return wrapDeclare(s.look(ctx, key), key)
}

func wrapDeclare(err error, key groupKey) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("relay/redis: declaring the group %q of %q: %w", key.group, key.topic, err)
}

// look reads the position of the group.
func (s *member) look(ctx context.Context, key groupKey) error {
	pipe := s.broker.writes.Pipeline()
	infos := pipe.XInfoGroups(ctx, key.topic)
	pending := pipe.XPending(ctx, key.topic, key.group)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	i := slices.IndexFunc(infos.Val(), func(g goredis.XInfoGroup) bool { return g.Name == key.group })
	if i < 0 {
		return errNoGroup
	}
	position := infos.Val()[i].LastDeliveredID
	// An entry delivered between the two commands is after that position.
	if p := pending.Val(); p.Count > 0 && idOf(p.Lower).less(idOf(position)) {
		position = p.Lower
	}
	s.broker.positions.set(key, position)
	return nil
}

// beginning returns the ID after which a new group begins. The group continues
// where it was if the stream is the same one, which it is if it still has the
// entry. If not, the stream is another one, or was trimmed beyond that entry:
// all its entries are new to the group.
func (s *member) beginning(ctx context.Context, key groupKey) string {
	position, known := s.broker.positions.get(key)
	switch {
	case s.queue:
		return fromStart // acknowledged entries are no longer in it
	case !known:
		return fromNow
	}
	entries, err := s.broker.writes.XRangeN(ctx, key.topic, position, position, 1).Result()
	if err != nil || len(entries) == 0 {
		return fromStart
	}
	return idOf(position).before().String()
}

// isForgotten reports whether the server has no such stream or group.
func isForgotten(err error) bool {
	for _, prefix := range []string{"NOGROUP", "UNBLOCKED", "ERR no such key"} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}
