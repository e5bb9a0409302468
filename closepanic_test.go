package tidings_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// A clock is code of the user: what panics there is not counted as a publisher.
func TestCloseAfterAClockThatPanicked(t *testing.T) {
	t.Parallel()
	bus := tidings.New(tidings.WithClock(func() time.Time { panic("no time") }))
	onAccepted := func(context.Context, proposalAccepted) error { return nil }
	tidings.Subscribe(bus, onAccepted)
	for range 2 {
		require.PanicsWithValue(t, "no time", func() { _ = tidings.Publish(t.Context(), bus, proposalAccepted{}) })
		require.PanicsWithValue(t, "no time", func() { _ = tidings.Publish[tidings.Event](t.Context(), bus, proposalAccepted{}) })
		tidings.Subscribe(bus, onAccepted, tidings.BeforeCommit) // the second time as a transaction
	}
	require.NoError(t, bus.Close(t.Context()))
}
