package amqp_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testproxy"
)

// serverURL returns that of a server that others use as well.
func serverURL(t *testing.T) string {
	t.Helper()
	u := os.Getenv("TIDINGS_RABBITMQ_URL")
	if u == "" {
		const how = `no RabbitMQ: run scripts/services up, then eval "$(scripts/services env)"`
		if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	return u
}

// rawClient returns a channel of the client library.
func rawClient(t *testing.T, url string) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

// newProxy returns a proxy of the server of a URL, and the URL with its address.
func newProxy(t *testing.T, server string, config *tls.Config) (p *testproxy.Proxy, url string) {
	t.Helper()
	u, err := amqp091.ParseURI(server)
	require.NoError(t, err)
	address := net.JoinHostPort(u.Host, fmt.Sprint(u.Port))
	p = testproxy.Start(t, address, config)
	return p, strings.Replace(server, address, p.Addr(), 1)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}
