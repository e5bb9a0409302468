package relay_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// Whatever a message has in it, it is an event for the handler, somebody else's,
// or a dead letter with a reason; and the next one is handled.
func FuzzBody(f *testing.F) {
	registry := newRegistry()
	for _, event := range []tidings.Event{tidings.Stamp(f.Context(), ordered{Number: 7}), tidings.Stamp(f.Context(), shipped{Number: 7}), tidings.Stamp(f.Context(), wordy{Text: "x"})} {
		e, err := registry.Wrap(event)
		require.NoError(f, err)
		body, err := e.MarshalJSON()
		require.NoError(f, err)
		for _, text := range []string{string(body), strings.Replace(string(body), "shop.", "other.", 1), string(body[1:]), string(body[:len(body)/2]), strings.ReplaceAll(string(body), `"`, "\xff")} {
			f.Add([]byte(text), "id", "1", "2026-11-22T00:00:00Z")
		}
	}
	f.Add([]byte(nil), "", "", "")
	f.Add([]byte("[]"), "\x00\r\n", "-1", "0001-01-01T00:00:00Z")
	f.Add([]byte(`{"specversion":"1.0","id":"x","source":"s","type":"shop.ordered","data":null}`), "\xff", "9223372036854775807", "x")

	e, err := registry.Wrap(tidings.Stamp(f.Context(), ordered{}))
	require.NoError(f, err)
	last := e.ID
	next, err := e.MarshalJSON()
	require.NoError(f, err)

	outcomes := make(chan string, 10)
	memory, err := relay.Open(f.Context(), newURL(), registry)
	require.NoError(f, err)
	b := &broker{Broker: brokerOf(memory), published: map[string]int{}, subscribed: map[string]int{}, cancels: map[string][]context.CancelFunc{}, consuming: map[string]int{}}
	b.onPublish = func(topic string, m *relay.Message) error {
		if topic == "h.dead" {
			outcomes <- "dead: " + m.Metadata["tidings-reason"]
		}
		return nil
	}
	r, err := relay.New(b, registry, relay.WithTopics(func(event string) string { return "shared" }), relay.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, r.Close(context.Background())) })
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e ordered) error {
		if e.EventID() == last {
			outcomes <- "next"
		} else {
			outcomes <- "event"
		}
		return nil
	}, tidings.Named("h"), tidings.Via(r), tidings.Attempts(1))
	require.NoError(f, r.Start(f.Context()))

	f.Fuzz(func(t *testing.T, body []byte, id, number, due string) {
		m := newMessage(id, body)
		m.Metadata["tidings-attempt"] = number
		m.Metadata["tidings-failed-at"] = due
		m.Metadata["tidings-redrive"] = id
		require.NoError(t, b.Publish(t.Context(), "shared", m, newMessage("next", next)))
		outcome := <-outcomes
		for _, other := range []string{"panic", "Goexit"} {
			require.NotContains(t, outcome, other)
		}
		require.NotEqual(t, "dead: ", outcome, "a letter without a reason")
		if outcome != "next" {
			require.Equal(t, "next", <-outcomes, "one outcome, then the next message")
		} else { // skipped, so it was an event of another type
			var e tidings.Envelope
			require.NoError(t, e.UnmarshalJSON(body))
			require.NotEqual(t, orderedName, e.Type)
		}
	})
}
