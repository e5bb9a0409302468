package relay_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

func TestOptionsPanic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want string
		call func()
	}{
		{"relay: WithLogger with a nil *slog.Logger", func() { relay.WithLogger(nil) }},
		{"relay: WithTopics with a nil function", func() { relay.WithTopics(nil) }},
		{"relay: WithMaxSize(0): must be >= 1", func() { relay.WithMaxSize(0) }},
		{"relay: WithKeyBy with a nil function", func() { relay.WithKeyBy[ordered](nil) }},
		{"relay: WithTrace with a nil function", func() {
			relay.WithTrace(nil, func(ctx context.Context, _ map[string]string) context.Context { return ctx })
		}},
		{"relay: WithTrace with a nil function", func() {
			relay.WithTrace(func(context.Context) map[string]string { return nil }, nil)
		}},
		{"relay: Workers(0): at least one has to work", func() { relay.Workers(0) }},
	} {
		require.PanicsWithValue(t, tt.want, tt.call)
	}
	relay.WithMaxSize(1)
	relay.Workers(1)
}

func TestVerdictString(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[relay.Verdict]string{
		relay.Redeliver: "Redeliver", relay.Keep: "Keep", relay.Discard: "Discard", 3: "Verdict(3)", -1: "Verdict(-1)",
	} {
		require.Equal(t, want, verdict.String())
	}
}

// The limit is 250 KiB, the least of what brokers take.
func TestDefaultMaxSize(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	event := tidings.Stamp(t.Context(), wordy{}) // once: the length of a time varies
	envelope, err := newRegistry().Wrap(event)
	require.NoError(t, err)
	body, err := envelope.MarshalJSON()
	require.NoError(t, err)
	for _, tt := range []struct {
		more int
		ok   bool
	}{{0, true}, {1, false}} {
		text := make([]byte, 250<<10-len(body)+tt.more)
		for i := range text {
			text[i] = 'x'
		}
		event.Text = string(text)
		_, err = g.Encode(t.Context(), tidings.Outgoing{Event: event})
		require.Equal(t, tt.ok, err == nil, "%v", err)
	}
}
