package faulttest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
	_ "github.com/tidings-go/tidings/relay/amqp"
)

func init() {
	brokers["RabbitMQ"] = func(t *testing.T) server {
		const path = "/usr/lib/rabbitmq/bin/rabbitmq-server"
		if _, err := os.Stat(path); err != nil {
			unavailable(t, "RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")
		}
		s := &rabbitServer{path: path, port: testport.Reserve(t), dist: testport.Reserve(t), epmd: testport.Reserve(t), dir: sharedDir(t)}
		s.start(t)
		t.Cleanup(func() { s.end(t) })
		return s
	}
}

// A rabbitServer is a node of its own, with a name service of its own.
type rabbitServer struct {
	path             string
	port, dist, epmd int
	dir              string
	cmd              *exec.Cmd
}

func (s *rabbitServer) name() string { return "RabbitMQ" }
func (s *rabbitServer) url() string {
	return fmt.Sprintf("amqp://tidings:tidings@127.0.0.1:%d/", s.port)
}

func (s *rabbitServer) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LANG=C.UTF-8",
		"RABBITMQ_NODENAME=fault@localhost", "RABBITMQ_CONFIG_FILE=" + filepath.Join(s.dir, "rabbitmq.conf"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(s.dir, "data"), "RABBITMQ_LOG_BASE=" + filepath.Join(s.dir, "log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(s.dir, "plugins"),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", s.dist), fmt.Sprintf("ERL_EPMD_PORT=%d", s.epmd), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
	}
}

func (s *rabbitServer) start(t *testing.T) {
	config := fmt.Sprintf("listeners.tcp.default = 127.0.0.1:%d\ndefault_user = tidings\ndefault_pass = tidings\n", s.port)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "rabbitmq.conf"), []byte(config), 0o644))
	s.cmd = exec.Command(s.path)
	s.cmd.Env = s.env()
	s.cmd.Dir = s.dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody(t)}
	require.NoError(t, s.cmd.Start())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, patience, 100*time.Millisecond)
}

func (s *rabbitServer) stop(t *testing.T) {
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	_ = s.cmd.Wait() // that it was a signal
	s.cmd = nil
}

// end stops the name service as well, which the node leaves behind.
func (s *rabbitServer) end(t *testing.T) {
	if s.cmd != nil {
		s.stop(t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "epmd", "-kill")
	c.Env = s.env()
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// nobody is who runs a server that refuses to be root's; nil: oneself.
func nobody(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	require.NoError(t, err)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// sharedDir is a temporary directory that nobody may write to.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "tidings-fault")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	if c := nobody(t); c != nil {
		require.NoError(t, os.Chown(dir, int(c.Uid), int(c.Gid)))
	}
	return dir
}
