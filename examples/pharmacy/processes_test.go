package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain runs the program in the processes that tests start.
func TestMain(m *testing.M) {
	if os.Getenv("PHARMACY_MAIN") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// command is the program as a process.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), "PHARMACY_MAIN=1")
	cmd.Stderr = t.Output()
	return cmd
}

// startWorker starts a worker process, waits until it works, and returns it with
// the rest of its output.
func startWorker(t *testing.T, file string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := command(t, "-db", file, "-work")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "working")
	return cmd, out
}

// One process publishes. Another one works, is killed while its handlers run, and
// starts again.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("processes cannot be interrupted there")
	}
	const orders = 150 // seconds of work, within which the worker is killed
	file := filepath.Join(t.TempDir(), "pharmacy.db")
	out, err := command(t, "-db", file, "-publish", strconv.Itoa(orders)).Output()
	require.NoError(t, err)
	require.Equal(t, tally{ready: orders, todo: 2 * orders}.String(), string(out))

	watch, err := open(t.Context(), file, 1) // it runs no jobs
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, watch.close(context.WithoutCancel(t.Context()))) })
	now := func() tally {
		tally, err := watch.tally(t.Context())
		require.NoError(t, err)
		return tally
	}

	worker, _ := startWorker(t, file)
	require.Eventually(t, func() bool {
		var leads bool // otherwise its successor looks for stuck jobs too early, and then every 30 s
		require.NoError(t, watch.db.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT * FROM river_leader)").Scan(&leads))
		tally := now()
		return leads && tally.shipped >= 5 && tally.parcels > tally.shipped // some handlers wait for the carrier
	}, time.Minute, 5*time.Millisecond)
	require.NoError(t, worker.Process.Kill())
	require.Error(t, worker.Wait())
	killed := now()
	t.Logf("killed:\n%v", killed)
	require.NotZero(t, killed.todo)
	require.Less(t, killed.shipped, orders)

	worker, rest := startWorker(t, file)
	require.Eventually(t, func() bool { return now().todo == 0 }, 5*time.Minute, 100*time.Millisecond,
		"the dead one leads for 15 s, then its jobs are rescued")
	require.NoError(t, worker.Process.Signal(os.Interrupt))
	text, err := io.ReadAll(rest)
	require.NoError(t, err)
	require.NoError(t, worker.Wait())

	end := now()
	t.Logf("at the end:\n%v", end)
	require.Equal(t, tally{ready: orders, picked: orders, shipped: orders, parcels: orders, calls: end.calls}, end)
	require.Equal(t, orders+killed.parcels-killed.shipped, end.calls, "the carrier is called again for those whose answer the dead worker did not hear")
	require.Equal(t, end.String(), string(text))
}
