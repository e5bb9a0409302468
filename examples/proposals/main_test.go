package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/examples/proposals/internal/database"
)

var update = flag.Bool("update", false, "write the output of the program to testdata")

func TestRun_TwiceOnOneDatabase(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "proposals.db")

	requireGolden(t, "first-run.txt", runOK(t, "-db", file), file)
	first := tables(t, file)
	requireGolden(t, "second-run.txt", runOK(t, "-db", file), file)
	require.Equal(t, first, tables(t, file), "the second run changes nothing")

	requireGolden(t, "replay.txt", runOK(t, "-db", file, "-replay"), file)
	require.Equal(t, first, tables(t, file), "the replay builds what was there")
}

func TestRun_ReplayRepairsTheReadModel(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "proposals.db")
	runOK(t, "-db", file)
	want := tables(t, file)
	db, err := database.Open(t.Context(), file)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `UPDATE reports_sales SET amount = 1`)
	require.NoError(t, err)
	require.NoError(t, db.Close())

	require.Contains(t, runOK(t, "-db", file, "-replay"), "rebuilt from 7 events: the read model is not what it was before")
	require.Equal(t, want, tables(t, file))
}

func TestRun_TemporaryDatabaseIsNamedAndRemoved(t *testing.T) {
	t.Parallel()
	out := runOK(t)
	named := regexp.MustCompile(`into\s+(\S+proposals\.db), removed at the end`).FindStringSubmatch(out)
	require.NotNil(t, named, out)
	require.NoFileExists(t, named[1])
	require.NoDirExists(t, filepath.Dir(named[1]))
	require.NotContains(t, out, "no changes")
}

func TestRun_PortalThatWorks(t *testing.T) {
	t.Parallel()
	var accounts []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		accounts = append(accounts, r.Method+" "+r.URL.Path)
	}))
	defer server.Close()

	out := runOK(t, "-portal", server.URL)
	require.Equal(t, []string{"PUT /accounts/2"}, accounts)
	require.Contains(t, out, "0 failed after a commit")
	require.NotContains(t, out, "stays accepted")
}

func TestRun_OtherSheet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sheet, db := filepath.Join(dir, "sheet.csv"), filepath.Join(dir, "proposals.db")
	header, _, _ := bytes.Cut(defaultSheet, []byte("\n"))
	write := func(lines ...string) {
		content := string(header) + "\n" + strings.Join(lines, "\n") + "\n"
		require.NoError(t, os.WriteFile(sheet, []byte(content), 0o600))
	}
	const (
		renewal = "Mill Lane Tax,MLT-1,renewal_client,Tern,ops@tern.example,Payroll,100,2027-01-04,no"
		broken  = "Mill Lane Tax,MLT-2,renewal_client"
	)

	write(renewal)
	out := runOK(t, "-csv", sheet, "-db", db)
	require.Contains(t, out, "clients.onboard handling events.ProposalAccepted: clients: MLT-1 of Mill Lane Tax for Tern: no such client")
	require.Contains(t, out, "MLT-1 stays accepted")
	require.Contains(t, out, "1 accepted, 0 rolled back")

	write(renewal, broken)
	out = runOK(t, "-csv", sheet, "-db", db)
	require.Contains(t, out, "3 columns instead of 9")
	require.Contains(t, out, "\nno changes: ")

	write()
	out = runOK(t, "-csv", sheet, "-db", db)
	require.Contains(t, out, "Proposals: 0 of 0 lines")
}

func TestRun_Help(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"-h", "-help", "--help"} {
		out := runOK(t, arg)
		for _, want := range []string{"Usage: proposals", "-csv file", "-db file", "-portal URL", "-replay", "exit code"} {
			require.Contains(t, out, want)
		}
	}
}

func TestRun_Fails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "letter.txt")
	require.NoError(t, os.WriteFile(text, []byte("Dear Sir or Madam, this is a letter.\n"), 0o600))
	missing := filepath.Join(dir, "none", "x")
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown flag", []string{"-nope"}, 2, "flag provided but not defined: -nope"},
		{"flag without a value", []string{"-db"}, 2, "flag needs an argument: -db"},
		{"argument", []string{"sheet.csv"}, 2, `unexpected argument "sheet.csv"`},
		{"portal without scheme", []string{"-portal", "localhost:80"}, 2, `-portal "localhost:80" is not an http or https URL`},
		{"portal with another scheme", []string{"-portal", "ftp://x"}, 2, "not an http or https URL"},
		{"portal that is no URL", []string{"-portal", "http://[x"}, 2, "not an http or https URL"},
		{"replay of nothing", []string{"-replay"}, 2, "-replay needs -db"},
		{"replay and proposals", []string{"-replay", "-db", "x", "-csv", "y"}, 2, "-replay reads no proposals"},
		{"no such sheet", []string{"-csv", missing}, 1, missing},
		{"sheet is a directory", []string{"-csv", dir}, 1, dir},
		{"sheet is something else", []string{"-csv", text}, 1, text + `: crm: read proposals: the first line is "Dear Sir`},
		{"no such directory", []string{"-db", missing}, 1, "open database " + missing},
		{"database is a directory", []string{"-db", dir}, 1, "open database " + dir},
		{"database is something else", []string{"-db", text}, 1, "open database " + text},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			require.Equal(t, test.code, run(t.Context(), test.args, &stdout, &stderr))
			require.Contains(t, stderr.String(), "proposals: ")
			require.Contains(t, stderr.String(), test.want)
		})
	}
}

func TestRun_Interrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, run(ctx, nil, &stdout, &stderr))
	require.Contains(t, stderr.String(), context.Canceled.Error())
}

func TestRun_OutputThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	require.Equal(t, 1, run(t.Context(), nil, full{}, &stderr))
	require.Contains(t, stderr.String(), "no space left")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left") }

// runOK runs the program and returns its output.
func runOK(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, &stdout, &stderr)
	require.Zero(t, code, stderr.String())
	require.Empty(t, stderr.String())
	return stdout.String()
}

func tables(t *testing.T, file string) []database.Table {
	t.Helper()
	db, err := database.Open(t.Context(), file)
	require.NoError(t, err)
	defer db.Close()
	tables, err := database.Tables(t.Context(), db)
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	return tables
}

// requireGolden compares output with a file, except for parts that differ between
// runs and systems.
func requireGolden(t *testing.T, name, output, db string) {
	t.Helper()
	output = strings.ReplaceAll(output, db, "<db>")
	output = regexp.MustCompile(`(dial tcp 127\.0\.0\.1:1: ).*`).ReplaceAllString(output, "${1}connection refused")
	workflows := map[string]string{}
	output = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllStringFunc(output, func(id string) string {
		if workflows[id] == "" {
			workflows[id] = fmt.Sprintf("<%d>", len(workflows)+1)
		}
		return workflows[id]
	})
	golden := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(output), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), output, "if the change is meant: go test -run TwiceOnOneDatabase -update")
}
