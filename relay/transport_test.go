package relay_test

import (
	"testing"

	"github.com/tidings-go/tidings/relay/relaytest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	relaytest.Test(t, relaytest.Server{URL: "memory://" + t.Name()})
}
