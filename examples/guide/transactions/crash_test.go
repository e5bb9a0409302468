package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

// exitCrash is the exit code of the process that simulates a crash.
const exitCrash = 3

// acceptAndDie accepts a proposal in a process that exits after the commit, in
// its first AfterCommit handler.
func acceptAndDie(ctx context.Context, db *sql.DB) error {
	bus := tidings.New()
	m := &mailer{db: db}
	tidings.Subscribe(bus, m.enqueue, tidings.BeforeCommit)
	tidings.Subscribe(bus, func(context.Context, ProposalAccepted) error {
		os.Exit(exitCrash)
		return nil
	})
	tidings.Subscribe(bus, func(ctx context.Context, e ProposalAccepted) error {
		_, err := db.ExecContext(ctx, "INSERT INTO reservations VALUES (?, ?)", e.ProposalID, e.Amount)
		return err
	})
	return accept(ctx, db, bus, 7)
}

func TestCrashAfterCommit(t *testing.T) {
	if file := os.Getenv("GUIDE_CRASH_DB"); file != "" { // the process that dies
		t.Fatal(acceptAndDie(t.Context(), openFile(t, file)))
	}
	file := filepath.Join(t.TempDir(), "crash.db")
	db := openFile(t, file)
	_, err := db.Exec(schema)
	require.NoError(t, err)

	crash := exec.Command(os.Args[0], "-test.run=^TestCrashAfterCommit$")
	crash.Env = append(os.Environ(), "GUIDE_CRASH_DB="+file)
	output, err := crash.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", output)
	require.Equal(t, exitCrash, exit.ExitCode(), "%s", output)

	// The proposal is accepted, and the second AfterCommit handler did not run.
	var accepted, reserved int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM proposals WHERE accepted").Scan(&accepted))
	require.NoError(t, db.QueryRow("SELECT count(*) FROM reservations").Scan(&reserved))
	require.Equal(t, 1, accepted)
	require.Zero(t, reserved)

	// The outbox still has the row that was stored in the transaction. It keeps
	// the row if an attempt to send fails.
	var keys []string
	refused := errors.New("no mail server")
	m := &mailer{db: db, send: func(context.Context, string, ProposalAccepted) error { return refused }}
	require.ErrorIs(t, m.drain(t.Context()), refused)
	m.send = func(_ context.Context, key string, e ProposalAccepted) error {
		require.EqualValues(t, 7, e.ProposalID)
		keys = append(keys, key)
		return nil
	}
	require.NoError(t, m.drain(t.Context()))
	require.Len(t, keys, 1)
	require.NoError(t, m.drain(t.Context()))
	require.Len(t, keys, 1, "the row is gone")
}

func openFile(t *testing.T, file string) *sql.DB {
	path := url.URL{Path: filepath.ToSlash(file)}
	db, err := sql.Open("sqlite", "file:"+path.EscapedPath()+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}
