package tidings_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

func TestSubscriptionInfoAsJSON(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	onAccepted := func(context.Context, proposalAccepted) error { return nil }
	tidings.Subscribe(bus, onAccepted, tidings.Named("clients.onboard"), tidings.BeforeCommit)
	tidings.Subscribe(bus, onAccepted, tidings.Named("mail.welcome"), tidings.Async())
	data, err := json.Marshal(bus.Subscriptions())
	require.NoError(t, err)
	var infos []map[string]any
	require.NoError(t, json.Unmarshal(data, &infos))
	require.Len(t, infos, 2)
	for _, info := range infos {
		require.Contains(t, info["file"], "subscription_test.go")
		require.Positive(t, info["line"])
		delete(info, "file")
		delete(info, "line")
	}
	require.Equal(t, []map[string]any{
		{"event_type": "tidings_test.proposalAccepted", "handler": "clients.onboard", "phase": "BeforeCommit"},
		{"event_type": "tidings_test.proposalAccepted", "handler": "mail.welcome", "phase": "AfterCommit", "transport": "*tidings.asyncTransport"},
	}, infos)

	data, err = json.Marshal(tidings.SubscriptionInfo{})
	require.NoError(t, err)
	require.JSONEq(t, `{"event_type":"","handler":"","phase":"AfterCommit","file":"","line":0}`, string(data))
}
