package nats_test

import (
	"testing"

	"github.com/tidings-go/tidings/relay/relaytest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	// The suite expects that a new handler gets nothing from before.
	relaytest.Test(t, relaytest.Server{URL: startServer(t).url()})
}
