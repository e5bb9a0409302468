package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testport"
)

// TestMain runs the service in the process that TestService starts.
func TestMain(m *testing.M) {
	if os.Getenv("TIDINGS_QUICKSTART") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// An order is posted, both handlers run, and SIGTERM ends the service.
func TestService(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	addr := fmt.Sprintf("127.0.0.1:%d", testport.Reserve(t))
	service := exec.CommandContext(ctx, os.Args[0], "-addr", addr)
	service.Dir = t.TempDir() // for its database
	service.Env = append(os.Environ(), "TIDINGS_QUICKSTART=1")
	var log bytes.Buffer
	service.Stderr = &log
	stdout, err := service.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, service.Start())

	require.Eventually(t, func() bool {
		response, err := http.PostForm("http://"+addr+"/orders", url.Values{"item": {"Middlemarch"}})
		if err != nil {
			return false // it does not listen yet
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusCreated
	}, time.Minute, 10*time.Millisecond)
	var printed []string
	lines := bufio.NewScanner(stdout)
	for len(printed) < 2 && lines.Scan() {
		printed = append(printed, lines.Text())
	}
	require.ElementsMatch(t, []string{`catalog: refresh "Middlemarch"`, `shipping: order 1, "Middlemarch"`}, printed)

	require.NoError(t, service.Process.Signal(syscall.SIGTERM))
	require.False(t, lines.Scan(), "%s", lines.Text())
	require.NoError(t, service.Wait())
	require.Empty(t, log.String())
}
