// Package testpostgres starts Postgres servers on loopback for a single test: servers
// with settings that the server of scripts/services does not have, and standbys.
package testpostgres

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tidings-go/tidings/internal/testport"
)

// A Server runs until the test has ended.
type Server struct {
	bin, dir string
	port     int
	options  string // of its command line
}

// Start starts a new server. Each setting is one of postgresql.conf, written as
// "name=value". If the programs of Postgres are not installed, Start skips the test,
// or fails it if TIDINGS_REQUIRE_SERVICES is 1.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := newServer(t)
	s.run(t, "initdb", "-D", s.data(), "-N", "--encoding=UTF8", "--locale=C", "--username=tidings", "--auth=trust")
	s.start(t, settings)
	return s
}

// Standby starts a hot standby of s. It answers queries and replicates the commits of
// s.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	standby := newServer(t)
	standby.run(t, "pg_basebackup", "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-U", "tidings",
		"-D", standby.data(), "-R", "-X", "stream", "-c", "fast", "-N")
	standby.start(t, nil)
	return standby
}

// Promote makes a standby accept writes.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.run(t, "pg_ctl", "promote", "-D", s.data(), "-w", "-t", "60")
}

// Restart stops the server, in a mode of pg_ctl ("fast" or "immediate"), and starts
// it again.
func (s *Server) Restart(t testing.TB, mode string) {
	t.Helper()
	s.stop(t, mode)
	s.launch(t)
}

// URL returns the connection string of the server.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://tidings@127.0.0.1:%d/postgres?sslmode=disable&connect_timeout=60", s.port)
}

func newServer(t testing.TB) *Server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is right
	if initdb, err := exec.LookPath("initdb"); err == nil {
		// The other programs are in the same directory as the file that the link
		// points to.
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			found = append(found, initdb)
		}
	}
	if len(found) == 0 {
		const text = "no initdb, neither on the PATH nor in /usr/lib/postgresql: install postgresql"
		if os.Getenv("TIDINGS_REQUIRE_SERVICES") == "1" {
			t.Fatal(text)
		}
		t.Skip("SKIPPED, NO POSTGRES: " + text)
	}
	dir, err := os.MkdirTemp("", "tidings-postgres")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{bin: filepath.Dir(found[len(found)-1]), dir: dir, port: testport.Reserve(t)}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Getuid() == 0 { // Postgres refuses to run as root
		if out, err := exec.Command("chown", "nobody", dir).CombinedOutput(); err != nil {
			t.Fatalf("chown: %v: %s", err, out)
		}
	}
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) start(t testing.TB, settings []string) {
	t.Helper()
	s.options = fmt.Sprintf("-p %d -c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories=", s.port)
	for _, setting := range settings {
		s.options += " -c " + setting
	}
	s.launch(t)
	t.Cleanup(func() { s.stop(t, "immediate") })
}

func (s *Server) launch(t testing.TB) {
	t.Helper()
	s.run(t, "pg_ctl", "start", "-D", s.data(), "-w", "-t", "60", "-l", filepath.Join(s.dir, "log"), "-o", s.options)
}

func (s *Server) stop(t testing.TB, mode string) {
	t.Helper()
	s.run(t, "pg_ctl", "stop", "-D", s.data(), "-m", mode, "-w", "-t", "60")
}

// run runs a program of Postgres.
func (s *Server) run(t testing.TB, program string, args ...string) {
	t.Helper()
	line := append([]string{filepath.Join(s.bin, program)}, args...)
	if os.Getuid() == 0 {
		line = append([]string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"}, line...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = "/"
	out, err := os.CreateTemp("", "tidings-postgres") // not a pipe, which the server would keep open
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = out.Close(), os.Remove(out.Name()) }()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		t.Fatalf("%s: %v: %s", line, err, text)
	}
}
