package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	goredis "github.com/redis/go-redis/v9"
)

// An acknowledged entry stays in its stream until that is trimmed. A trimmer
// removes what every group has acknowledged from the streams that this process
// has used lately.
type trimmer struct {
	client  goredis.UniversalClient
	logger  watermill.LoggerAdapter
	streams sync.Map // of *atomic.Bool by name: used since the last round
	stop    context.CancelFunc
	done    chan struct{}
	lastErr string // of the last round, in order not to repeat it
}

const (
	trimInterval = 5 * time.Second

	// keptWithoutGroup is how many entries stay in a stream that no group has
	// subscribed to.
	keptWithoutGroup = 10_000

	// trimAtMost is when the script gives others a chance, after about 5 ms.
	trimAtMost = 100_000
)

// trimScript finds the oldest entry that a group still needs, and removes those
// before it: all in one step, so that a group that comes meanwhile loses nothing.
// It leaves some, since it removes whole nodes of the stream (of 100 entries by
// default), which is cheap.
var trimScript = goredis.NewScript(`
local function before(a, b)
	local ams, aseq = string.match(a, '(%d+)-(%d+)')
	local bms, bseq = string.match(b, '(%d+)-(%d+)')
	if ams ~= bms then return tonumber(ams) < tonumber(bms) end
	return tonumber(aseq) < tonumber(bseq)
end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local oldest
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
	local field = {}
	for i = 1, #group, 2 do field[group[i]] = group[i + 1] end
	local needed = field['last-delivered-id']
	if field['pending'] > 0 then needed = redis.call('XPENDING', KEYS[1], field['name'])[2] end
	if not oldest or before(needed, oldest) then oldest = needed end
end
local removed = 0
repeat
	local n
	if oldest then n = redis.call('XTRIM', KEYS[1], 'MINID', '~', oldest)
	else n = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1]) end
	removed = removed + n
until n == 0 or removed >= tonumber(ARGV[2])
return removed
`)

func newTrimmer(client goredis.UniversalClient, logger watermill.LoggerAdapter) *trimmer {
	ctx, cancel := context.WithCancel(context.Background())
	t := &trimmer{client: client, logger: logger, stop: cancel, done: make(chan struct{})}
	go t.run(ctx)
	return t
}

// mark has a stream trimmed in the next round.
func (t *trimmer) mark(stream string) {
	used, ok := t.streams.Load(stream)
	if !ok {
		used, _ = t.streams.LoadOrStore(stream, new(atomic.Bool))
	}
	if u := used.(*atomic.Bool); !u.Load() {
		u.Store(true)
	}
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
		t.streams.Range(func(stream, used any) bool {
			if used.(*atomic.Bool).Swap(false) {
				t.trim(ctx, stream.(string))
			}
			return ctx.Err() == nil
		})
	}
}

func (t *trimmer) trim(ctx context.Context, stream string) {
	for {
		removed, err := t.once(ctx, stream)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			t.mark(stream)
			if err.Error() != t.lastErr {
				t.logger.Error("relay/redis: a stream cannot be trimmed, and grows", err, watermill.LogFields{"topic": stream})
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

func (t *trimmer) once(ctx context.Context, stream string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	return trimScript.Run(ctx, t.client, []string{stream}, keptWithoutGroup, trimAtMost).Int()
}

func (t *trimmer) close() {
	t.stop()
	<-t.done
}
