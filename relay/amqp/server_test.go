package amqp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
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

// A child is a server of one test, to stop and to start again.
type child struct {
	t      *testing.T
	dir    string
	port   int
	env    []string
	server *exec.Cmd
}

const serverProgram = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// startChild starts a server with data of its own, on loopback alone. Its
// Erlang nodes find each other through an epmd that ends with the test.
func startChild(t *testing.T, settings ...string) *child {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server, which takes long")
	}
	if _, err := os.Stat(serverProgram); err != nil {
		t.Skipf("starts a server of its own: install rabbitmq-server (%v)", err)
	}
	dir, err := os.MkdirTemp("", "tidings-rabbitmq-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	c := &child{t: t, dir: dir, port: testport.Reserve(t)}
	epmdPort, distPort := testport.Reserve(t), testport.Reserve(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), fmt.Appendf(nil,
		"listeners.tcp.1 = 127.0.0.1:%d\ndefault_user = tidings\ndefault_pass = tidings\nlog.console = false\n%s\n", c.port, strings.Join(settings, "\n")), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plugins"), []byte("[]."), 0o644))
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(dir, nobody, nobody))
	}
	c.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprintf("ERL_EPMD_PORT=%d", epmdPort),
		fmt.Sprintf("RABBITMQ_NODENAME=tidings%d@localhost", c.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", distPort),
		"RABBITMQ_MNESIA_BASE=" + dir + "/data", "RABBITMQ_LOG_BASE=" + dir + "/log",
		"RABBITMQ_CONFIG_FILE=" + dir + "/rabbitmq.conf", "RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/plugins", "RABBITMQ_CONF_ENV_FILE=" + dir + "/none",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
	}
	epmd := c.start("epmd", "-address", "127.0.0.1", "-port", fmt.Sprint(epmdPort))
	t.Cleanup(func() { end(epmd, syscall.SIGKILL) })
	c.up()
	t.Cleanup(func() { end(c.server, syscall.SIGKILL) })
	return c
}

const nobody = 65534

// start runs a program in a process group of its own, and not as root.
func (c *child) start(program string, args ...string) *exec.Cmd {
	c.t.Helper()
	cmd := c.command(program, args...)
	require.NoError(c.t, cmd.Start())
	return cmd
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
func (c *child) up() {
	c.t.Helper()
	c.server = c.start(serverProgram)
	require.Eventually(c.t, func() bool {
		conn, err := amqp091.Dial(c.url())
		return err == nil && conn.Close() == nil
	}, 90*time.Second, 100*time.Millisecond)
}

// ctl runs rabbitmqctl.
func (c *child) ctl(args ...string) {
	c.t.Helper()
	cmd := c.command(filepath.Join(filepath.Dir(serverProgram), "rabbitmqctl"), args...)
	out, err := cmd.CombinedOutput()
	require.NoError(c.t, err, "%s", out)
}

// wipe deletes the virtual host, with all that is in it, and makes an empty one.
func (c *child) wipe() {
	c.t.Helper()
	c.ctl("delete_vhost", "/")
	c.ctl("add_vhost", "/")
	c.ctl("set_permissions", "-p", "/", "tidings", ".*", ".*", ".*")
}

// signal sends a signal to all processes of the server.
func (c *child) signal(signal syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, syscall.Kill(-c.server.Process.Pid, signal))
}

// kill ends the server without a chance to clean up.
func (c *child) kill() { end(c.server, syscall.SIGKILL) }

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
