package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/testmain"
)

// TestMain runs the program in the processes that tests start. After all tests, no
// file may be left.
func TestMain(m *testing.M) {
	const child = "EXTRACTION_MAIN"
	if os.Getenv(child) == "1" {
		main()
	}
	testmain.Parallel()
	dir, err := os.MkdirTemp("", "extraction-test")
	if err != nil {
		panic(err)
	}
	os.Setenv("TMPDIR", dir)
	os.Setenv("TMP", dir) // on Windows
	os.Setenv(child, "1") // for the processes that are started here
	code := m.Run()
	if err := os.Remove(dir); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestRun_Flags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "x.db")
	const nobody = "nats://127.0.0.1:1" // no server listens on this port
	for _, c := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"-x"}, 2, "-x"},
		{[]string{"x"}, 2, `unexpected argument "x"`},
		{[]string{"-serve", "ehr", "-broker", nobody, "-db", file}, 2, "the roles are monolith and fulfilment"},
		{[]string{"-serve", "monolith", "-db", file}, 2, "needs a -broker and a -db"},
		{[]string{"-serve", "fulfilment", "-broker", nobody}, 2, "needs a -broker and a -db"},
		{[]string{"-serve", "monolith", "-letters", "x", "-broker", nobody, "-db", file}, 2, "exclude each other"},
		{[]string{"-letters", "x", "-redrive", "x", "-broker", nobody}, 2, "exclude each other"},
		{[]string{"-letters", "fulfilment.ship"}, 2, "need a -broker"},
		{[]string{"-redrive", "fulfilment.ship"}, 2, "need a -broker"},
		{[]string{"-db", file}, 2, "-db is for -serve"},
		{[]string{"-orders", "2"}, 2, "-orders is for"},
		{[]string{"-serve", "fulfilment", "-broker", nobody, "-db", file, "-orders", "2"}, 2, "-orders is for"},
		{[]string{"-serve", "monolith", "-broker", nobody, "-db", file, "-orders", "-1"}, 2, "-orders -1"},
		{[]string{"-serve", "monolith", "-broker", nobody, "-db", file, "-refuse", "O-7"}, 2, "-refuse is for"},
		{[]string{"-serve", "monolith", "-broker", "memory://x", "-db", file}, 2, "share no memory"},
		{[]string{"-broker", "memory://x"}, 2, "share no memory"},
		{[]string{"-serve", "monolith", "-broker", "http://x", "-db", file}, 1, `unknown scheme "http"`},
		{[]string{"-serve", "monolith", "-broker", nobody, "-db", file}, 1, "cannot be reached"},
		{[]string{"-serve", "fulfilment", "-broker", nobody, "-db", file}, 1, "cannot be reached"},
		{[]string{"-letters", "fulfilment.ship", "-broker", nobody}, 1, "cannot be reached"},
		{[]string{"-redrive", "fulfilment.ship", "-broker", nobody}, 1, "cannot be reached"},
		{[]string{"-serve", "monolith", "-broker", nobody, "-db", dir}, 1, "unable to open database file"},
		{[]string{"-serve", "fulfilment", "-broker", nobody, "-db", dir}, 1, "unable to open database file"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(t.Context(), c.args, strings.NewReader(""), &stdout, &stderr), c.args)
		require.Contains(t, stderr.String(), c.err)
		require.Empty(t, stdout.String(), c.args)
	}
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"-h"}, strings.NewReader(""), &stdout, &stderr))
	require.Contains(t, stdout.String(), "-serve role")
}

// If the broker does not answer, the demonstration ends, and does not print the
// password.
func TestRun_NoBroker(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"-broker", "nats://me:secret@127.0.0.1:1"}, strings.NewReader(""), &stdout, &stderr))
	require.Contains(t, stderr.String(), "cannot be reached")
	require.NotContains(t, stderr.String(), "secret")
}

// An interrupt ends the demonstration and its processes.
func TestRun_Interrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	var stdout writerFunc = func(p []byte) (int, error) {
		if strings.Contains(string(p), "20 boxes picked") {
			interrupt()
		}
		return len(p), nil
	}
	var stderr bytes.Buffer
	require.Equal(t, 1, run(ctx, nil, strings.NewReader(""), stdout, &stderr))
	require.Equal(t, "extraction: interrupted\n", stderr.String())
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
