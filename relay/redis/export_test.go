package redis

import (
	"context"
	"time"

	"github.com/tidings-go/tidings/relay"
)

// What the tests look at from inside.
var (
	EncodeMetadata = encodeMetadata
	DecodeMetadata = decodeMetadata
)

// Trim does what a broker does every few seconds.
func Trim(ctx context.Context, b relay.Broker, stream string) { brokerOf(b).trimmer.trim(ctx, stream) }

// SetTrim sets how long a broker watches a stream before it trims it, and how
// long it waits for a group that is missing.
func SetTrim(b relay.Broker, settle, missed time.Duration) {
	t := brokerOf(b).trimmer
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settle, t.missedFor = settle, missed
}

// Trims reports whether a broker trims a stream.
func Trims(b relay.Broker, stream string) bool {
	_, ok := brokerOf(b).trimmer.streams.Load(stream)
	return ok
}

// CheckSize does what a broker does before it sends that much.
func CheckSize(ctx context.Context, b relay.Broker, fields ...any) error {
	return brokerOf(b).checkSize(ctx, fields)
}

func brokerOf(b relay.Broker) *broker { return b.(*broker) }

// Limits.
const (
	KeptWithoutGroup = keptWithoutGroup
	PublishTimeout   = publishTimeout
)
