package aws_test

import (
	"os"
	"testing"

	"github.com/tidings-go/tidings/relay/relaytest"
	"github.com/tidings-go/tidings/tidingstest"
)

// server returns the URL of SNS and SQS.
func server(t *testing.T) string {
	t.Helper()
	u := os.Getenv("TIDINGS_AWS_URL")
	if u == "" {
		if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
			t.Fatal("TIDINGS_REQUIRE_SERVICES=1, but there is no TIDINGS_AWS_URL")
		}
		t.Skip(`there is no TIDINGS_AWS_URL: scripts/services up, and eval "$(scripts/services env)"`)
	}
	return u
}

func TestSuite(t *testing.T) {
	t.Parallel()
	relaytest.Test(t, relaytest.Server{URL: server(t), NoAttributes: true, Features: tidingstest.Features{Unordered: true}})
}
