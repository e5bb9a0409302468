package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	goredis "github.com/redis/go-redis/v9"

	"github.com/tidings-go/tidings/relay"
)

// surelySmall is a size of an entry that every server accepts: its limits
// cannot be less than 1 MB.
const surelySmall = 1<<20 - 64<<10

// sizeOf returns the size of the fields of an entry, and the size of the
// largest.
func sizeOf(fields []any) (size, largest int64) {
	for _, field := range fields {
		n := 0
		switch f := field.(type) {
		case string:
			n = len(f)
		case []byte:
			n = len(f)
		}
		size, largest = size+int64(n), max(largest, int64(n))
	}
	return size, largest
}

// checkSize reads the limits of the server before a large entry is sent: a
// server ends the connection over an entry that is too large, usually before
// the client can read why.
func (b *broker) checkSize(ctx context.Context, fields []any) error {
	size, largest := sizeOf(fields)
	if size <= surelySmall {
		return nil
	}
	for _, l := range []struct {
		setting string
		size    int64
	}{{"proto-max-bulk-len", largest}, {"client-query-buffer-limit", size}, {"maxmemory", size}} {
		if limit := b.setting(ctx, l.setting); limit > 0 && l.size > limit {
			return fmt.Errorf("%w: %d bytes, and %s of the server is %d", relay.ErrTooLarge, l.size, l.setting, limit)
		}
	}
	return nil
}

// setting returns a numeric setting of the server, or 0 if the server does not
// report it.
func (b *broker) setting(ctx context.Context, name string) int64 {
	settings, err := b.writes.ConfigGet(ctx, name).Result()
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(settings[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// refusedSize makes the error of an XADD wrap [relay.ErrTooLarge] if the size
// is the cause. If the server does not report its limits, the size is assumed
// to be the cause if the server has closed the connection at each attempt, and
// answers a PING.
func (b *broker) refusedSize(ctx context.Context, fields []any, err error) error {
	size, _ := sizeOf(fields)
	text := err.Error()
	switch {
	case strings.Contains(text, "invalid bulk length"), strings.Contains(text, "too large to be stored"):
	case size > surelySmall && isCutOff(err) && b.writes.Ping(ctx).Err() == nil:
	default:
		return err
	}
	return fmt.Errorf("%w: %d bytes: %w", relay.ErrTooLarge, size, err)
}

func isCutOff(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// evictions warns once of a server that removes streams when its memory is
// full.
type evictions struct {
	client goredis.UniversalClient
	logger *slog.Logger
	asked  atomic.Bool
}

var errEvicts = errors.New("set maxmemory-policy to noeviction")

func (e *evictions) warn(ctx context.Context) {
	if e.asked.Swap(true) {
		return
	}
	memory, err := e.client.Info(ctx, "memory").Result()
	if err != nil {
		return // the server does not report it
	}
	info := map[string]string{}
	for line := range strings.Lines(memory) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	policy := info["maxmemory_policy"]
	if strings.HasPrefix(policy, "allkeys-") && info["maxmemory"] != "0" {
		e.logger.Warn("relay/redis: the server may delete streams, with all of their messages, when its memory is full", slog.Any("error", errEvicts),
			slog.String("maxmemory_policy", policy), slog.String("maxmemory", info["maxmemory"]))
	}
}
