package amqp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
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

// A proxy is between a test and the server, and can fail like a network.
type proxy struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	conns  []net.Conn
	refuse bool
	gate   chan struct{} // closed: bytes pass
	lines  []*line
}

// A line is a connection through a proxy.
type line struct {
	lose [2]atomic.Bool // what is written to the server, and by it, does not arrive
}

// newProxy returns a proxy on listener for the server of a URL.
func newProxy(t *testing.T, listener net.Listener, server string) *proxy {
	t.Helper()
	u, err := amqp091.ParseURI(server)
	require.NoError(t, err)
	p := &proxy{listener: listener, target: net.JoinHostPort(u.Host, fmt.Sprint(u.Port)), gate: make(chan struct{})}
	close(p.gate)
	var done sync.WaitGroup
	done.Go(func() { p.serve(&done) })
	t.Cleanup(func() {
		_ = listener.Close()
		p.resume()
		p.cut(true)
		done.Wait()
	})
	return p
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// url returns that of the server, with the address of the proxy.
func (p *proxy) url(server string) string {
	return strings.Replace(server, p.target, p.listener.Addr().String(), 1)
}

func (p *proxy) serve(done *sync.WaitGroup) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		done.Go(func() { p.connect(client) })
	}
}

func (p *proxy) connect(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.refuse {
		p.mu.Unlock()
		return
	}
	p.conns = append(p.conns, client, server)
	l := &line{}
	p.lines = append(p.lines, l)
	p.mu.Unlock()
	var both sync.WaitGroup
	for direction, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(&gated{p, pair[1], &l.lose[direction]}, pair[0])
			_ = pair[1].Close()
		})
	}
	both.Wait()
}

type gated struct {
	*proxy
	to   net.Conn
	lose *atomic.Bool
}

func (g *gated) Write(b []byte) (int, error) {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	<-gate
	if g.lose.Load() {
		return len(b), nil
	}
	return g.to.Write(b)
}

// cut breaks all connections, and refuses new ones if that is to last.
func (p *proxy) cut(lasts bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = lasts
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// stall lets no byte pass any more, and no connection notice.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// swallow loses what is written to the server, or by it, on the connections that
// there are. New ones are not concerned.
func (p *proxy) swallow(toServer, fromServer bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		l.lose[0].Store(toServer)
		l.lose[1].Store(fromServer)
	}
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}
