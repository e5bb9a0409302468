package amqp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/amqp"
	"github.com/tidings-go/tidings/relay/relaytest"
)

func TestRelay(t *testing.T) {
	t.Parallel()
	relaytest.Test(t, server(t))
}

func TestRelayWithQuorumQueues(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the suite for a second time")
	}
	s := server(t)
	s.URL += "?queue_type=quorum"
	s.Wiped = nil // the same exchanges
	relaytest.Test(t, s)
}

// server is the one that others use as well, as the suite needs it.
func server(t *testing.T) relaytest.Server {
	t.Helper()
	u := serverURL(t)
	s := relaytest.Server{
		URL: u,
		RemoveTopic: func(t *testing.T, topic string) {
			require.NoError(t, rawClient(t, u).ExchangeDelete(topic, false, false))
		},
		RemoveQueue: func(t *testing.T, group relay.Group, topic string) {
			_, err := rawClient(t, u).QueueDelete(amqp.QueueOf(group, topic), false, false, false)
			require.NoError(t, err)
		},
	}
	if !testing.Short() {
		s.Wiped = func(t *testing.T) (string, func()) {
			c, host := onChild(t, mortal, "wipe"), newName()
			return c.host(t, host), func() { c.wipe(t, host) }
		}
	}
	return s
}
