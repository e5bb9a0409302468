package durable_test

import (
	"bufio"
	"bytes"
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

	Name     string   // of the process, in the table effects
	Handlers []string // nil: allHandlers
	Workers  int      // at once; 0: 10

	HangAt    string // "": nowhere
	HangAfter int    // attempts that do not

	JobTimeout, RescueAfter time.Duration // 0: what Configure says
	Clock                   time.Duration // how much it is ahead
	Works                   time.Duration // how long each handler takes
}

// faultPlanOf is the environment variable that has the plan of a child.
const faultPlanOf = "DURABLE_FAULT_PLAN"

// Where attempts hang.
const (
	atBegin   = "begin"   // before their transaction
	atHandler = "handler" // in the handler, which has written
)

var faultChildren = map[string]func(*testing.T, harness, faultPlan){
	"hold":    faultHold,
	"leave":   faultLeave,
	"publish": faultPublish,
	"work":    faultWork,
}

// TestFaultChild is the main function of a child process.
func TestFaultChild(t *testing.T) {
	text := os.Getenv(faultPlanOf)
	if text == "" {
		t.Skip("for child processes")
	}
	var plan faultPlan
	require.NoError(t, json.Unmarshal([]byte(text), &plan))
	faultChildren[plan.Do](t, openAt(t, plan.DB, plan.URL), plan)
}

// A faultChild is another process with the same database: this test binary.
type faultChild struct {
	plan   faultPlan
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer // to be read once it has ended
	lines  chan string
	heard  []string
	ended  chan struct{} // closed once it says no more
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
	c := &faultChild{
		plan: plan, cmd: exec.Command(exe, "-test.run=^TestFaultChild$", "-test.timeout=10m"),
		lines: make(chan string, 100_000), ended: make(chan struct{}),
	}
	c.cmd.Env = append(os.Environ(), faultPlanOf+"="+string(text))
	c.cmd.Stderr = io.MultiWriter(os.Stderr, &c.stderr)
	c.stdin, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		defer close(c.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // unless it has ended
		<-c.ended
		_ = c.cmd.Wait()
	})
	return c
}

// hear waits for a line of the child that begins with word, and returns the
// rest of it.
func (c *faultChild) hear(t *testing.T, word string) string {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				ended := c.cmd.Wait()
				t.Fatalf("the child has ended (%v) instead of saying %q; it said %q, and on stderr:\n%s", ended, word, c.heard, c.stderr.String())
			}
			c.heard = append(c.heard, line)
			if rest, ok := strings.CutPrefix(line, "> "+word); ok {
				return strings.TrimSpace(rest)
			}
		case <-timeout:
			t.Fatalf("the child does not say %q; it said %q", word, c.heard)
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

// diedOfRiver reports whether the child has died of this: River's completer
// reports an attempt that has failed while another process changes the job.
// Its statement has seen the job running, and does not change it, and River
// takes what it has seen for a mistake of its own (v0.47, JobSetStateIfRunningMany).
func (c *faultChild) diedOfRiver(t *testing.T) bool {
	t.Helper()
	select {
	case <-c.ended:
	default:
		return false
	}
	require.Error(t, c.cmd.Wait())
	require.Contains(t, c.stderr.String(), "panic: completion subscriber received a job that wasn't finalized, river bug")
	return true
}

// alive returns c, or if it has died of River, another child like it.
func (c *faultChild) alive(t *testing.T, h harness) *faultChild {
	t.Helper()
	if !c.diedOfRiver(t) {
		return c
	}
	h.name = c.plan.DB
	return startWorking(t, h, c.plan)
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

var faultOutput sync.Mutex

// say sends a line to the parent, which gets it from hear.
func say(words ...any) {
	faultOutput.Lock()
	defer faultOutput.Unlock()
	_, _ = fmt.Println(append([]any{">"}, words...)...)
}

// faultHeard has what the parent tells, by line. A child whose parent has
// died ends.
var faultHeard = struct {
	sync.Once
	lines map[string]chan struct{}
}{lines: map[string]chan struct{}{"go": make(chan struct{}), "work": make(chan struct{}), "stop": make(chan struct{})}}

// await waits for a line of the parent, which any number may wait for.
func await(want string) {
	faultHeard.Do(func() {
		go func() {
			for s := bufio.NewScanner(os.Stdin); s.Scan(); {
				close(faultHeard.lines[s.Text()])
			}
			os.Exit(3)
		}()
	})
	<-faultHeard.lines[want]
}

// faultScan reads one row, in the transaction of ctx or else on the pool.
func faultScan(ctx context.Context, h harness, query string, dest ...any) error {
	if tx, ok := tidings.TxFrom[*sql.Tx](ctx, h.transactor.DB); ok {
		return tx.QueryRowContext(ctx, query).Scan(dest...)
	}
	if tx, ok := tidings.TxFrom[pgx.Tx](ctx, h.transactor.DB); ok {
		return tx.QueryRow(ctx, query).Scan(dest...)
	}
	if h.sql != nil {
		return h.sql.QueryRowContext(ctx, query).Scan(dest...)
	}
	return h.pool.QueryRow(ctx, query).Scan(dest...)
}

// alongside runs test on all of these databases at the same time, since such
// tests mostly wait.
func alongside(t *testing.T, databases []string, test func(t *testing.T, h harness)) {
	t.Helper()
	tests := map[string]func(*testing.T){}
	for _, name := range databases {
		tests[name] = func(t *testing.T) { test(t, openFault(t, name)) }
	}
	together(t, tests)
}

// together runs tests at the same time.
func together(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var wg sync.WaitGroup
	for name, test := range tests {
		wg.Go(func() { t.Run(name, test) })
	}
	wg.Wait()
}

// openFault opens a database of that name, with the tables of these tests.
func openFault(t *testing.T, name string) harness {
	t.Helper()
	h := map[string]func(testing.TB) harness{"sqlite": openSQLite, "sql": openSQL, "pgx": openPgx}[name](t)
	faultTables(t, h)
	return h
}

// faultsTakeTime skips the tests of this file's kind where time is short.
func faultsTakeTime(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, -short: killing processes takes a minute")
	}
}
