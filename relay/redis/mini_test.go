package redis_test

import (
	"os"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/tidings-go/tidings/relay/relaytest"
	_ "github.com/tidings-go/tidings/relay/redis"
)

func TestMiniredis(t *testing.T) {
	t.Parallel()
	relaytest.Test(t, relaytest.Server{URL: "redis://" + miniredis.RunT(t).Addr()})
}

func TestRedis(t *testing.T) {
	t.Parallel()
	if os.Getenv("TIDINGS_REDIS_URL") == "" { t.Skip() }
	relaytest.Test(t, relaytest.Server{URL: os.Getenv("TIDINGS_REDIS_URL")})
}
