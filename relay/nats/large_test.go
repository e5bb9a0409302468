package nats_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
)

// atOnce is less than the ten seconds for which what may succeed later is tried.
const atOnce = 9 * time.Second

// What will never be taken is refused at once, and says so.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := startServer(t, func(o *server.Options) { o.MaxPayload = 200_000 })
	_, js := s.client()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "small", Subjects: []string{"small"}, MaxMsgSize: 1000})
	require.NoError(t, err)
	b := openBroker(t, s.url())
	for _, c := range []struct {
		topic          string
		body, metadata int
		tooLarge       bool
		reason         string
	}{
		{"topic", 199_000, 0, false, "max_payload of the server"},
		{"topic", 200_001, 0, true, "more than max_payload"},
		{"topic", 199_000, 2_000, true, "the headers count"},
		{"topic", 10, 70_000, true, "JetStream takes 64 KiB of headers"},
		{"topic", 10, 60_000, false, "fewer"},
		{"small", 800, 0, false, "what the stream takes"},
		{"small", 1001, 0, true, "more than that"},
		{"small", 800, 500, true, "the headers count there, too"},
	} {
		m := &relay.Message{ID: "1", Body: bytes.Repeat([]byte("x"), c.body), Metadata: map[string]string{"key": strings.Repeat("x", c.metadata)}}
		began := time.Now()
		err := b.Publish(t.Context(), c.topic, m)
		require.Less(t, time.Since(began), atOnce, c.reason)
		if c.tooLarge {
			require.ErrorIs(t, err, relay.ErrTooLarge, c.reason)
		} else {
			require.NoError(t, err, c.reason)
		}
	}
	err = b.Enqueue(t.Context(), queue("g.dead"), &relay.Message{ID: "1", Body: make([]byte, 200_001)})
	require.ErrorIs(t, err, relay.ErrTooLarge)
	require.NoError(t, b.Enqueue(t.Context(), queue("g.dead"), &relay.Message{ID: "1"}), "the connection goes on")
}

// The server comes back with a smaller max_payload.
func TestTooLargeAfterRestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := openBroker(t, s.url())
	large := &relay.Message{ID: "1", Body: make([]byte, 5000)}
	require.NoError(t, b.Publish(t.Context(), "topic", large))
	s.stop()
	s.options.MaxPayload = 1000
	s.start()
	require.ErrorIs(t, b.Publish(t.Context(), "topic", large), relay.ErrTooLarge)
	publish(t, b, "topic", 1, 1)
}

// A topic that no server takes stops nobody's connection.
func TestTopicTooLong(t *testing.T) {
	t.Parallel()
	b := openBroker(t, startServer(t).url())
	publish(t, b, "topic", 1, 1)
	began := time.Now()
	err := b.Publish(t.Context(), strings.Repeat("x", 5000), &relay.Message{ID: "1"})
	require.ErrorContains(t, err, "is not a valid NATS subject")
	var permanent interface{ Permanent() bool }
	require.ErrorAs(t, err, &permanent)
	require.True(t, permanent.Permanent())
	publish(t, b, "topic", 2, 2)
	require.Less(t, time.Since(began), 2*atOnce) // of three that take no time
}
