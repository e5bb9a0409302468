package faulttest_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
	_ "github.com/tidings-go/tidings/relay/redis"
)

func init() {
	brokers["Redis"] = func(t *testing.T) server {
		path, err := exec.LookPath("redis-server")
		if err != nil {
			unavailable(t, "redis-server is not installed (Debian: apt-get install redis-server)")
		}
		s := &redisServer{path: path, port: testport.Reserve(t), dir: t.TempDir()}
		s.start(t)
		t.Cleanup(func() { s.stop(t) })
		return s
	}
}

// unavailable skips a test for want of a server, or fails it where all have to
// be there.
func unavailable(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
		t.Fatal(reason)
	}
	t.Skip("SKIPPED: " + reason)
}

// A redisServer is a process, which writes every command to its file.
type redisServer struct {
	path string
	port int
	dir  string
	cmd  *exec.Cmd
}

func (s *redisServer) name() string { return "Redis" }
func (s *redisServer) url() string  { return fmt.Sprintf("redis://127.0.0.1:%d/0", s.port) }

func (s *redisServer) start(t *testing.T) {
	s.cmd = exec.Command(s.path, "--bind", "127.0.0.1", "--port", fmt.Sprint(s.port), "--dir", s.dir,
		"--appendonly", "yes", "--save", "", "--daemonize", "no", "--logfile", "server.log")
	require.NoError(t, s.cmd.Start())
	client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", s.port), MaxRetries: -1})
	defer client.Close()
	require.Eventually(t, func() bool { return client.Ping(t.Context()).Err() == nil }, patience, 20*time.Millisecond)
}

func (s *redisServer) stop(t *testing.T) {
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, s.cmd.Wait())
}
