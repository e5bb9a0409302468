package nats_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/relaytest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	_, js := s.client()
	remove := func(t *testing.T, topic string) {
		name, err := js.StreamNameBySubject(t.Context(), topic)
		require.NoError(t, err)
		require.NoError(t, js.DeleteStream(t.Context(), name))
	}
	// The suite expects that a new handler gets nothing from before.
	relaytest.Test(t, relaytest.Server{
		URL:         s.url(),
		RemoveTopic: remove,
		RemoveQueue: func(t *testing.T, group relay.Group, topic string) {
			if group.Queue {
				remove(t, topic)
				return
			}
			stream, err := js.StreamNameBySubject(t.Context(), topic)
			require.NoError(t, err)
			consumers, err := js.Stream(t.Context(), stream)
			require.NoError(t, err)
			for name := range consumers.ConsumerNames(t.Context()).Name() {
				require.NoError(t, consumers.DeleteConsumer(t.Context(), name))
			}
		},
		Wiped: func(t *testing.T) (string, func()) {
			s := startServer(t)
			return s.url(), s.wipe
		},
	})
}
