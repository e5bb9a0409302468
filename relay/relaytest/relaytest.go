// Package relaytest checks that a broker does what [relay.Broker] asks of it,
// with the same suite for all of them.
package relaytest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/tidingstest"
)

// A Server is a broker to test with.
type Server struct {
	// URL is that of the server, for [relay.Open].
	URL string

	// Features are those that [tidingstest.TestTransport] is told when all
	// events share a topic. Events of different topics have no order anywhere.
	Features tidingstest.Features
}

// Test runs the suite.
func Test(t *testing.T, s Server) {
	t.Helper()
	t.Run("transport", func(t *testing.T) {
		s.Features.Unordered = true
		testTransport(t, s)
	})
	t.Run("transport, one topic", func(t *testing.T) {
		topic := strings.TrimSuffix(prefix(t), ".") + "-all"
		testTransport(t, s, relay.Topics(func(string) string { return topic }))
	})
}

// testTransport is the conformance suite of tidings.
func testTransport(t *testing.T, s Server, opts ...relay.Option) {
	var registry tidings.Registry
	tidings.Register[tidingstest.Counted](&registry, "suite.counted", 1)
	tidings.Register[tidingstest.Described](&registry, "suite.described", 1)
	s.Features.NoDrain = true
	tidingstest.TestTransport(t, s.Features, func(t *testing.T) tidingstest.Subject {
		r := open(t, s, &registry, opts...)
		return tidingstest.Subject{
			Via:   tidings.Via(r.With(relay.Backoff(func(int) time.Duration { return 10 * time.Millisecond }))),
			Start: r.Start,
		}
	})
}

// open opens a relay that shares nothing with those of other tests.
func open(t *testing.T, s Server, registry *tidings.Registry, opts ...relay.Option) *relay.Relay {
	t.Helper()
	r, err := relay.Open(t.Context(), s.URL, registry, append([]relay.Option{relay.Prefix(prefix(t))}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, r.Close(ctx))
	})
	return r
}
