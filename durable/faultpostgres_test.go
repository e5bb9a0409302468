package durable_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testport"
)

// A faultServer is a Postgres of the test's own, which it may stop.
type faultServer struct{ bin, dir, port, owner string }

// newFaultServer makes one in a temporary directory. Postgres does not run as
// root, so there nobody owns it.
func newFaultServer(t *testing.T) *faultServer {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if initdb, err := exec.LookPath("initdb"); err == nil {
		found = append(found, initdb)
	}
	if len(found) == 0 {
		if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
			t.Fatal("no initdb, neither on the PATH nor in /usr/lib/postgresql: install postgresql")
		}
		t.Skip("SKIPPED, NO POSTGRES: no initdb, neither on the PATH nor in /usr/lib/postgresql")
	}
	s := &faultServer{bin: filepath.Dir(found[len(found)-1])}
	var err error
	s.dir, err = os.MkdirTemp("", "tidings-postgres")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(s.dir)) })
	if os.Getuid() == 0 {
		s.owner = "nobody"
		require.NoError(t, exec.Command("chown", "nobody", s.dir).Run())
	}
	s.port = fmt.Sprint(testport.Reserve(t))

	s.run(t, "initdb", "-D", s.data(), "-N", "--encoding=UTF8", "--locale=C", "--username=tidings", "--auth=trust")
	s.start(t)
	t.Cleanup(func() { s.stop(t, "immediate") })
	return s
}

func (s *faultServer) data() string { return filepath.Join(s.dir, "data") }

func (s *faultServer) url() string {
	return "postgres://tidings@127.0.0.1:" + s.port + "/postgres?sslmode=disable&connect_timeout=5"
}

// run runs a command of Postgres.
func (s *faultServer) run(t *testing.T, command string, args ...string) {
	t.Helper()
	line := append([]string{filepath.Join(s.bin, command)}, args...)
	if s.owner != "" {
		line = append([]string{"setpriv", "--reuid=" + s.owner, "--regid=nogroup", "--clear-groups", "--"}, line...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = "/"
	out, err := os.CreateTemp(t.TempDir(), "out") // no pipe, which the server would keep open
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		t.Fatalf("%s: %v: %s", line, err, text)
	}
	require.NoError(t, out.Close())
}

func (s *faultServer) start(t *testing.T) {
	t.Helper()
	s.run(t, "pg_ctl", "start", "-D", s.data(), "-w", "-t", "60", "-l", filepath.Join(s.dir, "log"),
		"-o", "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=100 -p "+s.port)
}

func (s *faultServer) stop(t *testing.T, mode string) {
	t.Helper()
	s.run(t, "pg_ctl", "stop", "-D", s.data(), "-m", mode, "-w", "-t", "60")
}

// The server goes away three times, and comes back, while some publish and
// others work.
func TestFaultPostgresStops(t *testing.T) {
	t.Parallel()
	faultsTakeTime(t)
	s := newFaultServer(t)
	h := pgxAt(t, s.url())
	migrate(t, riverpgxv5.New(h.pool))
	faultTables(t, h)
	handlers := []string{effectHandler, orderedHandler}
	w := newFaultWorker(t, h, faultPlan{Name: "parent"}, handlers...)

	plan := faultPlan{Handlers: handlers, Workers: 5, Works: 5 * time.Millisecond, JobTimeout: 2 * time.Second, RescueAfter: 2 * time.Second}
	var workers []*faultChild
	for _, name := range []string{"pgx", "sql"} {
		of := h
		plan.Name, of.name = name, name
		workers = append(workers, startWorking(t, of, plan))
	}

	const publishers, each = 4, 150
	var committed, failed, unknown atomic.Int64
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for n := range each {
				e := tidings.Stamp(context.Background(), Accepted{Number: fmt.Sprint(p), Total: int64(n)})
				for w.order(context.Background(), h, e) != nil {
					failed.Add(1)
					// Its answer may be lost, so look before trying again.
					if stored(h, e) {
						unknown.Add(1)
						break
					}
				}
				committed.Add(1)
			}
		})
	}
	for n, mode := range []string{"immediate", "fast", "immediate"} {
		require.Eventually(t, func() bool { return committed.Load() >= int64(100+n*150) }, 2*time.Minute, time.Millisecond)
		s.stop(t, mode)
		s.start(t)
	}
	publishing.Wait()
	died := 0
	allDone(t, h, func() {
		for i, c := range workers {
			if c.diedOfRiver(t) {
				died++
				of := h
				plan.Name, of.name = c.plan.Name, c.plan.DB
				workers[i] = startWorking(t, of, plan)
			}
		}
	})
	calls := 0
	for _, c := range workers {
		calls += c.stop(t)
	}
	retried := h.count(t, "SELECT count(*) FROM river_job WHERE attempt > 1")
	t.Logf("stopped 3 times: %d transactions failed, of which %d had committed; %d jobs took more than one attempt; %d workers died; %d calls for %d jobs",
		failed.Load(), unknown.Load(), retried, died, calls, h.count(t, "SELECT count(*) FROM river_job"))
	balanced(t, h, publishers*each, handlers...)
}

// stored reports whether the transaction of event has committed, once the
// server answers.
func stored(h harness, event tidings.Event) bool {
	for {
		var n int
		if faultScan(context.Background(), h, "SELECT count(*) FROM orders WHERE event_id = '"+event.EventID().String()+"'", &n) == nil {
			return n == 1
		}
		<-time.After(20 * time.Millisecond)
	}
}
