package nats_test

import (
	"bytes"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
	"github.com/tidings-go/tidings/internal/testproxy"
)

// A natsServer is a server with JetStream in this process, which can be stopped
// and started again with its data.
type natsServer struct {
	t       testing.TB
	options server.Options
	running *server.Server
}

// startServer starts a server that stops with the test.
func startServer(t testing.TB, set ...func(*server.Options)) *natsServer {
	t.Helper()
	s := &natsServer{t: t, options: server.Options{
		Host: "127.0.0.1", Port: testport.Reserve(t), NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(),
	}}
	for _, f := range set {
		f(&s.options)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// start starts it, on the same port each time.
func (s *natsServer) start() {
	s.t.Helper()
	options := s.options
	running, err := server.NewServer(&options)
	require.NoError(s.t, err)
	running.Start()
	require.True(s.t, running.ReadyForConnections(patience), "the server does not start")
	s.running = running
}

func (s *natsServer) stop() {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

// wipe restarts it without its data.
func (s *natsServer) wipe() {
	s.t.Helper()
	s.stop()
	s.options.StoreDir = s.t.TempDir()
	s.start()
}

// disconnectAll breaks the connections of all clients.
func (s *natsServer) disconnectAll() {
	s.t.Helper()
	clients, err := s.running.Connz(nil)
	require.NoError(s.t, err)
	for _, c := range clients.Conns {
		require.NoError(s.t, s.running.DisconnectClientByID(c.Cid))
	}
}

func (s *natsServer) host() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.options.Port))
}

func (s *natsServer) url() string { return "nats://" + s.host() }

// client returns a client of its own, for what another program does.
func (s *natsServer) client(options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	s.t.Helper()
	conn, err := nats.Connect(s.url(), append(options, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))...)
	require.NoError(s.t, err)
	s.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(s.t, err)
	return conn, js
}

// silenced returns the URL of a proxy of the server that swallows what streams
// are asked and told, save whether there is JetStream.
func (s *natsServer) silenced() string {
	s.t.Helper()
	p := testproxy.Start(s.t, s.host(), nil)
	p.Filter(func(toServer bool, b []byte) testproxy.Fate {
		if toServer && bytes.Contains(b, []byte("$JS.API.STREAM")) {
			return testproxy.Lose
		}
		return testproxy.Pass
	})
	return "nats://" + p.Addr()
}

// silences are the ways in which a server or its network can be silent.
var silences = []struct {
	name  string
	begin func(*testproxy.Proxy)
}{
	{"swallows what both send, as a network that drops packets", func(p *testproxy.Proxy) { p.Filter(testproxy.Losing(true, true)) }},
	{"swallows what clients send", func(p *testproxy.Proxy) { p.Filter(testproxy.Losing(true, false)) }},
	{"swallows what the server sends", func(p *testproxy.Proxy) { p.Filter(testproxy.Losing(false, true)) }},
	{"reads nothing, as a server that was stopped (SIGSTOP)", (*testproxy.Proxy).Stall},
}
