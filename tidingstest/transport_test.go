package tidingstest_test

import (
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestAsync(t *testing.T) {
	t.Parallel()
	tidingstest.TestTransport(t, tidingstest.Features{NoRetry: true}, func(*testing.T) tidingstest.Subject {
		return tidingstest.Subject{Via: tidings.Async()}
	})
}
