package amqp_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
)

// maxSize is the largest body that a child takes.
const maxSize = 1_000_000

// The servers for what a server that others use as well cannot be put through.
// To start one costs seconds of a processor, so there are few, and tests share
// them. The first test that wants one starts it, and it ends with the last test.
var (
	troubled = sync.OnceValues(startChild)
	mortal   = sync.OnceValues(startChild)
)

// onChild waits until the test may do something to a server, which is then its
// own until it has ended, together with the other tests that do the same.
func onChild(t *testing.T, start func() (*child, error), act string) *child {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server, which takes long")
	}
	if _, err := os.Stat(serverProgram); err != nil {
		t.Skipf("starts a server of its own: install rabbitmq-server (%v)", err)
	}
	c, err := start()
	require.NoError(t, err)
	c.enter(t, act)
	return c
}

// A child is a server to stop and to start again.
type child struct {
	turns
	dir    string
	port   int
	env    []string
	server *exec.Cmd
}

const serverProgram = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// startChild starts a server with data of its own, on loopback alone. Its
// Erlang nodes find each other through an epmd that ends with the tests.
func startChild() (*child, error) {
	dir, err := os.MkdirTemp("", "tidings-rabbitmq-")
	if err != nil {
		return nil, err
	}
	whenAllEnd.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &child{dir: dir, port: testport.Reserve(whenAllEnd)}
	epmdPort, distPort := testport.Reserve(whenAllEnd), testport.Reserve(whenAllEnd)
	settings := fmt.Appendf(nil, "listeners.tcp.1 = 127.0.0.1:%d\ndefault_user = tidings\ndefault_pass = tidings\nlog.console = false\nmax_message_size = %d\n", c.port, maxSize)
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), settings, 0o644),
		os.WriteFile(filepath.Join(dir, "plugins"), []byte("[]."), 0o644),
	); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return nil, err
		}
	}
	c.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprintf("ERL_EPMD_PORT=%d", epmdPort),
		fmt.Sprintf("RABBITMQ_NODENAME=tidings%d@localhost", c.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", distPort),
		"RABBITMQ_MNESIA_BASE=" + dir + "/data", "RABBITMQ_LOG_BASE=" + dir + "/log",
		"RABBITMQ_CONFIG_FILE=" + dir + "/rabbitmq.conf", "RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/plugins", "RABBITMQ_CONF_ENV_FILE=" + dir + "/none",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
	}
	epmd, err := c.start("epmd", "-address", "127.0.0.1", "-port", fmt.Sprint(epmdPort))
	if err != nil {
		return nil, err
	}
	whenAllEnd.Cleanup(func() { end(epmd, syscall.SIGKILL) })
	whenAllEnd.Cleanup(c.kill)
	return c, c.up()
}

const nobody = 65534

// start runs a program in a process group of its own, and not as root.
func (c *child) start(program string, args ...string) (*exec.Cmd, error) {
	cmd := c.command(program, args...)
	return cmd, cmd.Start()
}

func (c *child) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir = c.env, c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

// end ends the group of a process, and waits for the process.
func end(cmd *exec.Cmd, signal syscall.Signal) {
	if cmd.ProcessState == nil {
		_ = syscall.Kill(-cmd.Process.Pid, signal)
		_ = cmd.Wait() // a process that is killed has no other result
	}
}

func (c *child) url() string { return fmt.Sprintf("amqp://tidings:tidings@127.0.0.1:%d/", c.port) }

// up starts the server and waits until it answers.
func (c *child) up() (err error) {
	if c.server, err = c.start(serverProgram); err != nil {
		return err
	}
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		var conn *amqp091.Connection
		if conn, err = amqp091.Dial(c.url()); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("the server does not start: %w", err)
}

// restart ends the server without a chance to clean up, and starts it again.
func (c *child) restart() error {
	c.kill()
	return c.up()
}

// ctl runs rabbitmqctl.
func (c *child) ctl(t *testing.T, args ...string) {
	t.Helper()
	cmd := c.command(filepath.Join(filepath.Dir(serverProgram), "rabbitmqctl"), args...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// host makes a virtual host, and returns its URL.
func (c *child) host(t *testing.T, name string) (url string) {
	t.Helper()
	c.ctl(t, "add_vhost", name)
	c.ctl(t, "set_permissions", "-p", name, "tidings", ".*", ".*", ".*")
	return c.url() + name
}

// wipe deletes a virtual host, with all that is in it, and makes an empty one.
func (c *child) wipe(t *testing.T, host string) {
	t.Helper()
	c.ctl(t, "delete_vhost", host)
	c.host(t, host)
}

// signal sends a signal to all processes of the server.
func (c *child) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(-c.server.Process.Pid, signal))
}

// kill ends the server without a chance to clean up.
func (c *child) kill() {
	if c.server != nil && c.server.Process != nil {
		end(c.server, syscall.SIGKILL)
	}
}

// whenAllEnd stands for a test that ends after all others.
var whenAllEnd = &lifetime{}

type lifetime struct {
	testing.TB // nil: what is not here is not called

	mu       sync.Mutex
	cleanups []func()
}

func (l *lifetime) Helper()           {}
func (l *lifetime) Fatal(args ...any) { panic(strings.TrimSpace(fmt.Sprintln(args...))) }

func (l *lifetime) Cleanup(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleanups = append(l.cleanups, f)
}

func (l *lifetime) end() {
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
}
