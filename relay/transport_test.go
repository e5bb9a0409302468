package relay_test

import (
	"testing"

	"github.com/tidings-go/tidings/relay"
	"github.com/tidings-go/tidings/relay/internal/testhook"
	"github.com/tidings-go/tidings/relay/relaytest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	url := "memory://" + t.Name()
	relaytest.Test(t, relaytest.Server{
		URL:         url,
		RemoveTopic: func(_ *testing.T, topic string) { testhook.Forget(url, topic, "") },
		RemoveQueue: func(_ *testing.T, group relay.Group, topic string) { testhook.Forget(url, topic, group.Name) },
		Wiped: func(*testing.T) (string, func()) {
			url := newURL()
			return url, func() { testhook.Forget(url, "", "") }
		},
	})
}
