package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/examples/internal/golden"
)

func TestRun_TwiceOnOneDatabase(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ledger.db")
	requireOutput(t, "first-run.txt", runOK(t, "-db", file))
	requireOutput(t, "second-run.txt", runOK(t, "-db", file))
}

func TestRun_TemporaryDatabase(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	requireOutput(t, "first-run.txt", runOK(t))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestRun_Flags(t *testing.T) {
	t.Parallel()
	require.Contains(t, runOK(t, "-h"), "-db file")
	for _, c := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"-x"}, 2, "-x"},
		{[]string{"x"}, 2, `unexpected argument "x"`},
		{[]string{"-db", t.TempDir()}, 1, "open database"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(t.Context(), c.args, &stdout, &stderr))
		require.Contains(t, stderr.String(), c.err)
		require.Empty(t, stdout.String())
	}
}

func TestAccount_Refuses(t *testing.T) {
	t.Parallel()
	b := newTestBank(t)
	ctx := t.Context()
	require.ErrorContains(t, b.deposit(ctx, "x", 1), "there is no account x")
	_, err := b.withdraw(ctx, "x", 1)
	require.ErrorContains(t, err, "there is no account x")

	require.NoError(t, b.open(ctx, "x", "Ada", "EUR"))
	require.ErrorIs(t, b.open(ctx, "x", "Grace", "EUR"), errOpen)
	require.ErrorContains(t, b.deposit(ctx, "x", 0), "an amount of 0.00")
	require.NoError(t, b.deposit(ctx, "x", 10))
	_, err = b.withdraw(ctx, "x", 11)
	require.ErrorIs(t, err, errOverdraft)
	a, err := b.withdraw(ctx, "x", 10)
	require.NoError(t, err)
	require.Equal(t, Account{Owner: "Ada", Currency: "EUR"}, a)
}

func newTestBank(t *testing.T) *bank {
	t.Helper()
	db, err := openDatabase(t.Context(), filepath.Join(t.TempDir(), "ledger.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	var registry tidings.Registry
	register(&registry)
	log, err := eventlog.Open(t.Context(), eventlog.SQLite(db), &registry)
	require.NoError(t, err)
	return newBank(log)
}

func TestDeposited_OfVersion1(t *testing.T) {
	t.Parallel()
	e, err := depositedV1to2(depositedV1{Amount: 250})
	require.NoError(t, err)
	require.Equal(t, Deposited{Cents: 250_00, Currency: "EUR"}, e)
	_, err = depositedV1to2(depositedV1{})
	require.Error(t, err, "data of another version, most likely")
}

func TestEvents_Shape(t *testing.T) {
	t.Parallel()
	var registry tidings.Registry
	register(&registry)
	golden.Check(t, &registry,
		AccountOpened{Owner: "Ada", Currency: "EUR"},
		Deposited{Cents: 5_50, Currency: "EUR"},
		Withdrawn{Cents: 5_50, Currency: "EUR"},
	)
}

// runOK runs the program and returns its output.
func runOK(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, &stdout, &stderr)
	require.Zero(t, code, stderr.String())
	require.Empty(t, stderr.String())
	return stdout.String()
}

func requireOutput(t *testing.T, name, output string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	require.Equal(t, string(want), output, "if the change is meant: go run ./examples/ledger -db new.db > examples/ledger/testdata/%s", name)
}
