package eventlog_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// A child is another process with the same database. It is this test
// binary, running one of the functions of children.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// children are what a child process can do with a database.
var children = map[string]func(t *testing.T, h harness){
	"open":   func(t *testing.T, h harness) { await("go"); h.open(t) },
	"append": appendMany,
	"hold":   holdBeforeCommit,
	"leave":  leaveAfterCommit,
}

// TestChild is the main function of a child.
func TestChild(t *testing.T) {
	name := os.Getenv("EVENTLOG_CHILD")
	if name == "" {
		t.Skip("for child processes")
	}
	h := openAt(t, os.Getenv("EVENTLOG_CHILD_DB"), os.Getenv("EVENTLOG_CHILD_URL"))
	children[name](t, h)
}

// startChild starts a child that opens the database of h. It is killed at
// the end of the test.
func startChild(t *testing.T, name string, h harness) *child {
	t.Helper()
	require.Contains(t, children, name)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run=^TestChild$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), "EVENTLOG_CHILD="+name, "EVENTLOG_CHILD_DB="+h.name, "EVENTLOG_CHILD_URL="+h.url)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // unless it has ended
		_ = cmd.Wait()
	})
	return &child{cmd, stdin, bufio.NewReader(stdout)}
}

// say sends a line to the child, which gets it from await.
func (c *child) say(line string) { _, _ = fmt.Fprintln(c.stdin, line) }

// hear waits for a line of the child.
func (c *child) hear(t *testing.T, want string) {
	t.Helper()
	line, err := c.stdout.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, want, strings.TrimSuffix(line, "\n"))
}

// kill is kill -9.
func (c *child) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	require.Error(t, c.cmd.Wait())
}

// wait waits for a child that is to succeed.
func (c *child) wait(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(c.stdout)
	require.NoError(t, err)
	require.NoError(t, c.cmd.Wait(), string(rest))
}

var input = bufio.NewReader(os.Stdin)

// await waits for a line of the parent.
func await(want string) {
	if line, err := input.ReadString('\n'); err != nil || line != want+"\n" {
		panic(fmt.Sprintf("got %q, %v, want %q", line, err, want))
	}
}

// holdBeforeCommit appends to the log, and waits in the transaction.
func holdBeforeCommit(t *testing.T, h harness) {
	_, bus := h.attached(t)
	ctx, hook := tidings.NewTxHook(t.Context(), h.key)
	ctx, _, _, err := h.begin(ctx)
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: fmt.Sprintf("never %d", i)}))
	}
	require.NoError(t, hook.Prepare(ctx))
	fmt.Println("appended")
	await("never said")
}

// leaveAfterCommit publishes in a transaction, and waits in a handler.
func leaveAfterCommit(t *testing.T, h harness) {
	_, bus := h.attached(t)
	tidings.Subscribe(bus, func(_ context.Context, e Accepted) error {
		fmt.Println("committed " + e.Number)
		await("never said")
		return nil
	})
	_ = h.inTx(t.Context(), func(ctx context.Context) error {
		return errors.Join(
			tidings.Publish(ctx, bus, Accepted{Number: "1"}),
			tidings.Publish(ctx, bus, Accepted{Number: "2"}))
	})
}

// appendMany appends one event in each transaction.
func appendMany(t *testing.T, h harness) {
	_, bus := h.attached(t)
	fmt.Println("ready")
	await("go")
	for range 100 {
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Created{Client: fmt.Sprint(os.Getpid())})
		}))
	}
}

func TestKilledBeforeTheCommit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "before"}))
		c := startChild(t, "hold", h)
		c.hear(t, "appended")
		require.Equal(t, "before", numbers(all(t, log)))
		c.kill(t)
		// Waits until the server has noticed, or the lock is free.
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "after"}))
		require.Equal(t, "before after", numbers(all(t, h.reopened(t).open(t))))
	})
}

func TestKilledAfterTheCommit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		c := startChild(t, "leave", h)
		c.hear(t, "committed 1")
		c.kill(t)
		require.Equal(t, "1 2", numbers(all(t, log)), "also what had not been delivered")
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "3"}))
		require.Equal(t, "1 2 3", numbers(all(t, log)))
	})
}

func TestTwoProcessesAppend(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		one, two := startChild(t, "append", h), startChild(t, "append", h)
		one.hear(t, "ready")
		two.hear(t, "ready")
		one.say("go")
		two.say("go")
		for range 100 {
			require.NoError(t, tidings.Publish(t.Context(), bus, Created{Client: "parent"}))
		}
		one.wait(t)
		two.wait(t)
		count := map[string]int{}
		for _, e := range events(all(t, log)) {
			count[e.(Created).Client]++
		}
		require.Equal(t, map[string]int{
			"parent": 100, fmt.Sprint(one.cmd.Process.Pid): 100, fmt.Sprint(two.cmd.Process.Pid): 100,
		}, count)
	})
}
