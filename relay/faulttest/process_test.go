package faulttest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// planVariable has the plan of a process that a test starts.
const planVariable = "TIDINGS_FAULT_PLAN"

// TestWarehouse is a process of its own, which a test starts.
func TestWarehouse(t *testing.T) {
	text := os.Getenv(planVariable)
	if text == "" {
		return // it is a test only where a plan says so
	}
	var p plan
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	w := openWarehouse(t, p.Dir)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	stop, err := w.work(ctx, p)
	require.NoError(t, err)
	fmt.Println("working")
	<-ctx.Done()
	require.NoError(t, stop(context.Background()))
}

// A process is a warehouse in a process of its own.
type process struct{ *exec.Cmd }

// startProcess starts a process, which is killed when the test ends.
func startProcess(t *testing.T, p plan) process {
	t.Helper()
	text, err := json.Marshal(p)
	require.NoError(t, err)
	c := exec.Command(os.Args[0], "-test.run=^TestWarehouse$")
	c.Env = append(os.Environ(), planVariable+"="+string(text))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may be gone
		_ = c.Wait()
	})
	line := make([]byte, len("working\n"))
	_, err = out.Read(line)
	require.NoError(t, err, "the process has ended")
	require.Equal(t, "working\n", string(line))
	return process{c}
}

// kill is kill -9.
func (p process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Process.Kill())
	_ = p.Wait() // that it was killed
}
