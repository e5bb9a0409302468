package durable_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// A faultPlan is what a child process of these tests does, and on which
// database.
type faultPlan struct {
	Do      string // one of faultChildren
	DB, URL string // see openAt

	Name    string // of the process, in the table effects
	Workers int    // at once; 0: 10

	// After so many calls of handlers the next ones hang, at HangAt. 0: none.
	HangAfter int
	HangAt    string

	JobTimeout, RescueAfter time.Duration // 0: what Configure says
	Clock                   time.Duration // how much it is ahead
	Works                   time.Duration // how long each handler takes
}

// Where attempts hang.
const (
	atBegin   = "begin"   // before their transaction
	atHandler = "handler" // in the handler, which has written
	atCommit  = "commit"  // their job is completed, but not committed
)

var faultChildren = map[string]func(*testing.T, harness, faultPlan){
	"hold":    faultHold,
	"leave":   faultLeave,
	"publish": faultPublish,
	"work":    faultWork,
}

// TestFaultChild is the main function of a child process.
func TestFaultChild(t *testing.T) {
	text := os.Getenv("DURABLE_FAULT_PLAN")
	if text == "" {
		t.Skip("for child processes")
	}
	var plan faultPlan
	require.NoError(t, json.Unmarshal([]byte(text), &plan))
	faultChildren[plan.Do](t, openAt(t, plan.DB, plan.URL), plan)
}

// A faultChild is another process with the same database: this test binary.
type faultChild struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string
}

// startFault starts a child on the database of h. It is killed at the end of
// the test.
func startFault(t *testing.T, h harness, plan faultPlan) *faultChild {
	t.Helper()
	require.Contains(t, faultChildren, plan.Do)
	plan.DB, plan.URL = h.name, h.url
	text, err := json.Marshal(plan)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	c := &faultChild{cmd: exec.Command(exe, "-test.run=^TestFaultChild$", "-test.timeout=180s"), lines: make(chan string, 100_000)}
	c.cmd.Env = append(os.Environ(), "DURABLE_FAULT_PLAN="+string(text))
	c.cmd.Stderr = os.Stderr
	c.stdin, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // unless it has ended
		<-read
		_ = c.cmd.Wait()
	})
	return c
}

// hear waits for a line of the child that begins with word, and returns the
// rest of it.
func (c *faultChild) hear(t *testing.T, word string) string {
	t.Helper()
	timeout := time.After(time.Minute)
	var before []string
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				t.Fatalf("the child has ended instead of saying %q; it said %q", word, before)
			}
			if rest, ok := strings.CutPrefix(line, "> "+word); ok {
				return strings.TrimSpace(rest)
			}
			before = append(before, line)
		case <-timeout:
			t.Fatalf("the child does not say %q; it said %q", word, before)
		}
	}
}

// kill is kill -9.
func (c *faultChild) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	for range c.lines {
	}
	require.Error(t, c.cmd.Wait())
}

// tell sends a line to the child, which gets it from await.
func (c *faultChild) tell(line string) { _, _ = fmt.Fprintln(c.stdin, line) }

// stop ends a child that works, and returns how often its handlers were
// called.
func (c *faultChild) stop(t *testing.T) (calls int) {
	t.Helper()
	c.tell("stop")
	_, err := fmt.Sscan(c.hear(t, "calls"), &calls)
	require.NoError(t, err)
	for range c.lines {
	}
	require.NoError(t, c.cmd.Wait())
	return calls
}

var (
	faultOutput sync.Mutex
	faultInput  = bufio.NewReader(os.Stdin)
)

// say sends a line to the parent, which gets it from hear.
func say(words ...any) {
	faultOutput.Lock()
	defer faultOutput.Unlock()
	_, _ = fmt.Println(append([]any{">"}, words...)...)
}

// await waits for a line of the parent. A child whose parent has died ends.
func await(want string) {
	if line, err := faultInput.ReadString('\n'); err != nil || line != want+"\n" {
		panic(fmt.Sprintf("got %q, %v, want %q", line, err, want))
	}
}

// faultScan reads one row, in the transaction of ctx or else on the pool.
func faultScan(ctx context.Context, h harness, query string, dest ...any) error {
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx); ok {
		return tx.QueryRowContext(ctx, query).Scan(dest...)
	}
	if tx, ok := tidings.TxFrom[pgx.Tx](ctx); ok {
		return tx.QueryRow(ctx, query).Scan(dest...)
	}
	if h.sql != nil {
		return h.sql.QueryRowContext(ctx, query).Scan(dest...)
	}
	return h.pool.QueryRow(ctx, query).Scan(dest...)
}

// alongside runs test on all of these databases at the same time, since such
// tests mostly wait.
func alongside(t *testing.T, names []string, test func(t *testing.T, h harness)) {
	t.Helper()
	open := map[string]func(testing.TB) harness{"sqlite": openSQLite, "sql": openSQL, "pgx": openPgx}
	var wg sync.WaitGroup
	for _, name := range names {
		wg.Go(func() { t.Run(name, func(t *testing.T) { test(t, open[name](t)) }) })
	}
	wg.Wait()
}

// faultsTakeTime skips the tests of this file's kind where time is short.
func faultsTakeTime(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, -short: killing processes takes a minute")
	}
}
