package faulttest_test

import (
	"fmt"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
	_ "github.com/tidings-go/tidings/relay/nats"
)

func init() {
	brokers["NATS"] = func(t *testing.T) server {
		s := &natsServer{port: testport.Reserve(t), dir: t.TempDir()}
		s.start(t)
		t.Cleanup(func() { s.stop(t) })
		return s
	}
}

// A natsServer runs in this process.
type natsServer struct {
	port int
	dir  string
	*natsserver.Server
}

func (s *natsServer) name() string { return "NATS" }
func (s *natsServer) url() string  { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

func (s *natsServer) start(t *testing.T) {
	var err error
	s.Server, err = natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: s.port, JetStream: true, StoreDir: s.dir, NoSigs: true, NoLog: true,
	})
	require.NoError(t, err)
	s.Server.Start()
	require.True(t, s.ReadyForConnections(patience))
}

func (s *natsServer) stop(*testing.T) {
	s.Shutdown()
	s.WaitForShutdown()
}
