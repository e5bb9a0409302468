package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// An acknowledged entry stays in its stream until that is trimmed. A trimmer
// removes the entries that every group has acknowledged from the streams of
// events that this process has used recently. It does not change the queues of
// single groups.
//
// A group that the server has lost comes back: its process declares it again.
// Until then it needs the entries that it has not read yet, although the server
// does not know that. So the trimmer does not trim a stream while a group is
// missing that it has seen there, and until it has watched the stream long
// enough to have seen all.
type trimmer struct {
	client  goredis.UniversalClient
	logger  *slog.Logger
	streams sync.Map // of *trimmed by name
	stop    context.CancelFunc
	done    chan struct{}

	mu        sync.Mutex // held while a stream is trimmed
	settle    time.Duration
	missedFor time.Duration
	lastErr   string // of the last round, so as not to repeat it
	warned    map[groupKey]time.Time
}

// A trimmed is what the trimmer knows about a stream.
type trimmed struct {
	used   atomic.Bool          // since the last round
	since  time.Time            // of the first round
	groups map[string]time.Time // when each went missing; zero if it is there
}

const (
	trimInterval = 5 * time.Second

	// settleTime is the time after which all groups of live processes have
	// declared themselves.
	settleTime = 3 * relay.DeclareEvery

	// missedFor is how long to wait for a missing group. Afterwards it counts
	// as destroyed on purpose.
	missedFor = 5 * time.Minute

	// keptWithoutGroup is how many entries stay in a stream without groups.
	keptWithoutGroup = 10_000

	// trimAtMost limits one run of the script to about 5 ms, to let others run.
	trimAtMost = 100_000
)

// trimScript finds the oldest entry that a group still needs, and removes those
// before it: all in one step, so that a group that is added meanwhile loses
// nothing. It leaves some, since it removes whole nodes of the stream (of 100
// entries by default), which is cheap. It removes nothing if a group is missing
// (ARGV[3] and so on), or if ARGV[2] is 0. It returns how many it has removed,
// a group that needs entries from before the oldest one (or an empty text), and
// all groups.
var trimScript = goredis.NewScript(`
local function before(a, b)
	local ams, aseq = string.match(a, '(%d+)%-?(%d*)')
	local bms, bseq = string.match(b, '(%d+)%-?(%d*)')
	if ams ~= bms then return tonumber(ams) < tonumber(bms) end
	return (tonumber(aseq) or 0) < (tonumber(bseq) or 0)
end
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, ''} end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local oldest
local answer, present = {0, ''}, {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
	local field = {}
	for i = 1, #group, 2 do field[group[i]] = group[i + 1] end
	local needed = field['last-delivered-id']
	if field['pending'] > 0 then needed = redis.call('XPENDING', KEYS[1], field['name'])[2] end
	if not oldest or before(needed, oldest) then oldest = needed end
	if first and before('0-0', needed) and before(needed, first[1]) then answer[2] = field['name'] end
	answer[#answer + 1] = field['name']
	present[field['name']] = true
end
for i = 3, #ARGV do
	if not present[ARGV[i]] then return answer end
end
while answer[1] < tonumber(ARGV[2]) do
	local n
	if oldest then n = redis.call('XTRIM', KEYS[1], 'MINID', '~', oldest)
	else n = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1]) end
	if n == 0 then break end
	answer[1] = answer[1] + n
end
return answer
`)

func newTrimmer(client goredis.UniversalClient, logger *slog.Logger) *trimmer {
	ctx, cancel := context.WithCancel(context.Background())
	t := &trimmer{client: client, logger: logger, stop: cancel, done: make(chan struct{}),
		settle: settleTime, missedFor: missedFor, warned: map[groupKey]time.Time{}}
	go t.run(ctx)
	return t
}

// mark makes the next round trim a stream.
func (t *trimmer) mark(stream string) {
	if s := t.stream(stream); !s.used.Load() {
		s.used.Store(true)
	}
}

func (t *trimmer) stream(name string) *trimmed {
	s, ok := t.streams.Load(name)
	if !ok {
		s, _ = t.streams.LoadOrStore(name, new(trimmed))
	}
	return s.(*trimmed)
}

func (t *trimmer) run(ctx context.Context) {
	defer close(t.done)
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.streams.Range(func(name, s any) bool {
			if s.(*trimmed).used.Swap(false) {
				t.trim(ctx, name.(string))
			}
			return ctx.Err() == nil
		})
	}
}

func (t *trimmer) trim(ctx context.Context, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stream(name)
	for {
		removed, held, err := t.once(ctx, name, s)
		if ctx.Err() != nil {
			return
		}
		if err != nil || held {
			s.used.Store(true) // again in the next round
		}
		if err != nil {
			if err.Error() != t.lastErr {
				t.logger.Warn("relay/redis: a stream cannot be trimmed, and grows", slog.Any("error", err), slog.String("topic", name))
			}
			t.lastErr = err.Error()
			return
		}
		t.lastErr = ""
		if removed < trimAtMost {
			return
		}
	}
}

// once trims a stream, unless it must be left alone.
func (t *trimmer) once(ctx context.Context, name string, s *trimmed) (removed int64, held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	now := time.Now()
	if s.since.IsZero() {
		s.since, s.groups = now, map[string]time.Time{}
	}
	args := []any{keptWithoutGroup, trimAtMost}
	if now.Sub(s.since) < t.settle {
		args[1], held = 0, true
	}
	for group := range s.groups {
		args = append(args, group)
	}
	answer, err := trimScript.Run(ctx, t.client, []string{name}, args...).Slice()
	if err != nil {
		return 0, held, err
	}
	removed, _ = answer[0].(int64)
	if group := fmt.Sprint(answer[1]); group != "" {
		t.warn(name, group, errBehind, "relay/redis: a group has lost messages that it had not handled")
	}
	lost, missing := s.note(answer[2:], now, t.missedFor)
	for _, group := range lost {
		t.warn(name, group, errNoGroup, fmt.Sprintf("relay/redis: a group is missing, and its stream is not trimmed until it is back, or for %v", t.missedFor))
	}
	return removed, held || missing, nil
}

var errBehind = errors.New("the stream begins after the position of the group: it was trimmed, by maxlen or by another client")

// warn logs a warning about a group, once in missedFor.
func (t *trimmer) warn(stream, group string, err error, text string) {
	key := groupKey{stream, group}
	if time.Since(t.warned[key]) < t.missedFor {
		return
	}
	t.warned[key] = time.Now()
	t.logger.Warn(text, slog.Any("error", err), slog.String("topic", stream), slog.String("group", group))
}

// note records which groups exist. It returns the groups that existed in the
// last round and do not now, and whether one is missing.
func (s *trimmed) note(present []any, now time.Time, missedFor time.Duration) (lost []string, missing bool) {
	for _, group := range present {
		s.groups[fmt.Sprint(group)] = time.Time{}
	}
	for group, since := range s.groups {
		switch {
		case slices.Contains(present, any(group)):
		case since.IsZero():
			s.groups[group], missing = now, true
			lost = append(lost, group)
		case now.Sub(since) > missedFor:
			delete(s.groups, group)
		default:
			missing = true
		}
	}
	return lost, missing
}

func (t *trimmer) close() {
	t.stop()
	<-t.done
}
