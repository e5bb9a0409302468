package nats_test

import (
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	var proxying sync.WaitGroup
	s.t.Cleanup(func() {
		require.NoError(s.t, listener.Close())
		proxying.Wait()
	})
	proxying.Go(func() {
		for client, err := listener.Accept(); err == nil; client, err = listener.Accept() {
			server, err := net.Dial("tcp", s.host())
			if err != nil {
				s.t.Error(err)
				return
			}
			proxying.Go(func() {
				defer client.Close()
				_, _ = io.Copy(client, server)
			})
			proxying.Go(func() {
				defer server.Close()
				buf := make([]byte, 1<<16)
				for n, err := client.Read(buf); err == nil; n, err = client.Read(buf) {
					if text := string(buf[:n]); strings.Contains(text, "$JS.API.STREAM") {
						continue
					}
					if _, err := server.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return "nats://" + listener.Addr().String()
}
