package redis

import (
	"context"

	"github.com/tidings-go/tidings/relay"
)

// What the tests look at from inside.
var (
	EncodeMetadata = encodeMetadata
	DecodeMetadata = decodeMetadata
)

// Trim does what a broker does every few seconds.
func Trim(ctx context.Context, b relay.Broker, stream string) { b.(*broker).trimmer.trim(ctx, stream) }

// Limits of the trimmer.
const KeptWithoutGroup = keptWithoutGroup
