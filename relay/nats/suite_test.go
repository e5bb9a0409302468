package nats_test

import (
	"testing"

	"github.com/tidings-go/tidings/relay/relaytest"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	relaytest.Test(t, relaytest.Server{URL: s.url() + "?replicas=1", Features: tidingstest.Features{}})
}
