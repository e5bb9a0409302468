package txtest_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
	"github.com/tidings-go/tidings/tidingstest/txtest"
)

// A sound transactor passes, with everything that is optional.
func TestTransactorSound(t *testing.T) {
	t.Parallel()
	txtest.Test(t, txtest.Features{}, func(*testing.T) txtest.Subject { return newStore("").subject() })
}

// So does one whose database has no savepoints, and which says so.
func TestTransactorWithoutSavepoints(t *testing.T) {
	t.Parallel()
	txtest.Test(t, txtest.Features{NoSavepoints: true}, func(*testing.T) txtest.Subject {
		return newStore("refuses to nest").subject()
	})
}

// And tidings.SQL, here without what is optional except for a COMMIT that fails.
func TestTransactorSQL(t *testing.T) {
	t.Parallel()
	txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
		db, log := fakedb.Open(t)
		db.SetMaxOpenConns(1)
		log.Fail("REFUSED", errors.New("refused"))
		exec := func(ctx context.Context, statement string) error {
			tx, ok := tidings.TxFrom[*sql.Tx](ctx, db)
			if !ok {
				return errNoTx
			}
			_, err := tx.ExecContext(ctx, statement)
			return err
		}
		return txtest.Subject{
			Transactor: tidings.SQL(db),
			Insert:     func(ctx context.Context, n int) error { return exec(ctx, "INSERT "+strconv.Itoa(n)) },
			Fail:       func(ctx context.Context) error { return exec(ctx, "REFUSED") },
			Stored: func(context.Context) (numbers []int, err error) {
				for _, statement := range log.Committed() {
					n, err := strconv.Atoi(strings.TrimPrefix(statement, "INSERT "))
					if err != nil {
						return nil, err
					}
					numbers = append(numbers, n)
				}
				return numbers, nil
			},
			FailCommit: func(context.Context) error {
				log.On("COMMIT", func() error {
					log.Fail("COMMIT", nil)
					return errors.New("deferred constraint")
				})
				return nil
			},
			Sandbox: func(t *testing.T) any {
				tx, err := db.Begin()
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
				return tx
			},
		}
	})
}

type sinner struct {
	sin     string
	subtest string
	says    string
	flat    bool // Features.NoSavepoints
}

// sins are what can be wrong with a transactor, the subtest that shows it, and a part
// of what it says.
var sins = []sinner{
	{sin: "does not add the transaction", subtest: "TxFrom", says: "TxFrom finds no transaction of Transactor.DB"},
	{sin: "adds the transaction for another database", subtest: "TxFrom", says: "TxFrom finds no transaction of Transactor.DB"},
	{sin: "passes on another context", subtest: "context", says: "must pass on its own context"},
	{sin: "passes on another context", subtest: "inner context", says: "must pass on its own context"},
	{sin: "passes on another context", subtest: "cancelled", says: "must pass on its own context"},
	{sin: "does not let its context end", subtest: "cancelled", says: "must pass on its own context"},
	{sin: "begins no transaction", subtest: "commit", says: "the rows [1 2] are stored, want []"},
	{sin: "begins no transaction", subtest: "error", says: "the rows [1] are stored, want []"},
	{sin: "commits although the body failed", subtest: "error", says: "the rows [1] are stored, want []"},
	{sin: "drops the error of the body", subtest: "error", says: "the TxFunc returned nil although its body returned an error"},
	{sin: "replaces the error of the body", subtest: "error", says: "does not wrap the one of its body"},
	{sin: "leaks the transaction of a panic", subtest: "panic", says: "not given back the only connection"},
	{sin: "leaks the transaction of a panic", subtest: "goexit", says: "not given back the only connection"},
	{sin: "leaks the transaction of Goexit", subtest: "goexit", says: "not given back the only connection"},
	{sin: "commits after a panic", subtest: "panic", says: "the rows [1] are stored, want []"},
	{sin: "commits after a panic", subtest: "goexit", says: "the rows [1] are stored, want []"},
	{sin: "returns nil after a panic", subtest: "panic", says: "the TxFunc returned nil although its body did not return"},
	{sin: "drops the error of COMMIT", subtest: "commit fails", says: "Transact returned nil, although the COMMIT has failed"},
	{sin: "drops the error of COMMIT", subtest: "statement fails", says: "the rows [] are stored, want [2]"},
	{sin: "drops the error of COMMIT", subtest: "retry after COMMIT", says: "the rows [] are stored, want [2]"},
	{sin: "rolls back with the context that has ended", subtest: "cancelled", says: "not given back the only connection"},
	{sin: "calls the body after the commit", subtest: "commit", says: errDone.Error()},
	{sin: "calls the body twice", subtest: "commit", says: "the rows [1 2 1 2] are stored, want [1 2]"},
	{sin: "calls the body again in the same transaction", subtest: "fails once", says: "the rows [1 2] are stored, want [2]"},
	{sin: "uses the failed transaction again", subtest: "retry", says: errDone.Error()},
	{sin: "keeps the connection", subtest: "commit", says: "not given back the only connection"},
	{sin: "keeps the connection", subtest: "AfterCommit handler", says: "not given back the only connection"},
	{sin: "keeps the connection", subtest: "concurrent", says: "not given back the only connection"},
	{sin: "begins another transaction when nested", subtest: "inner commits", says: "not given back the only connection"},
	{sin: "commits everything when the inner body succeeds", subtest: "inner commits", says: errDone.Error()},
	{sin: "begins another transaction when nested", subtest: "inner fails", says: "not given back the only connection"},
	{sin: "sets no savepoint", subtest: "inner fails", says: "the rows [1 2 3 9] are stored, want [1 9]"},
	{sin: "sets no savepoint", subtest: "inner panics", says: "the rows [1 2 9] are stored, want [1 9]"},
	{sin: "sets no savepoint", subtest: "inner goexit", says: "the rows [1 2 9] are stored, want [1 9]"},
	{sin: "sets no savepoint", subtest: "siblings", says: "the rows [1 2 3 4 5 9] are stored"},
	{sin: "sets no savepoint", subtest: "three deep", says: "the rows [1 2 3 4 5 6 9] are stored"},
	{sin: "sets no savepoint", subtest: "outer context inside", says: "the rows [1 2 3 4 9] are stored"},
	{sin: "sets no savepoint", subtest: "handlers in savepoints", says: "the rows [1 101 2 102 3 103] are stored"},
	{sin: "sets no savepoint", subtest: "statement fails in savepoint", says: "the transaction is aborted"},
	{sin: "sets no savepoint", subtest: "nesting refused", says: "called its function (true)", flat: true},
	{sin: "sets no savepoint", subtest: "savepoints of handlers", says: "the rows [1 101 2 102 3 103 201 202 203] are stored"},
	{sin: "returns the end of its context after the commit", subtest: "cancelled at the end", says: "the rows [1] are stored, want []"},
	{sin: "returns the end of its context after the commit", subtest: "inner cancelled at the end", says: "the rows [1 2 9] are stored, want [1 9]"},
	{sin: "commits everything when the inner body succeeds", subtest: "outer fails", says: "the rows [1 2] are stored, want []"},
	{sin: "rolls back everything when the inner body fails", subtest: "inner fails", says: errDone.Error()},
	{sin: "keeps the savepoint of a panic", subtest: "inner panics", says: "the rows [1 2 9] are stored, want [1 9]"},
	{sin: "keeps the savepoint of a panic", subtest: "inner goexit", says: "the rows [1 2 9] are stored, want [1 9]"},
	{sin: "keeps the savepoint when its context has ended", subtest: "inner cancelled", says: "the rows [1 2 9] are stored, want [1 9]"},
	{sin: "has one name for all databases", subtest: "two databases", says: "Transactor.DB is the database for two databases"},
	{sin: "finds the outer transaction by itself", subtest: "transaction of a test", says: "not given back the only connection"},
	{sin: "keeps a context without the transaction", subtest: "kept context", says: "with the kept context"},
	{sin: "keeps a context without the transaction", subtest: "kept context inside", says: "before the end of the transaction the events"},
	{sin: "forgets the savepoint of the library after a panic", subtest: "savepoint of the library, panic", says: "the events [1 2 9] were delivered after the commit, want [1 9]"},
	{sin: "does not tell the bus of the savepoints of the library", subtest: "savepoint of the library", says: "the events [1 2 3 4 5 6 9] were delivered after the commit"},
	{sin: "does not tell the bus of the savepoints of the library", subtest: "savepoints of the library, nested", says: "the events [1 2 3 4 5 6 7 9] were delivered after the commit"},
	{sin: "does not tell the bus of the savepoints of the library", subtest: "savepoint of the library in Transact", says: "the events [1 2 3 4 7 9] were delivered after the commit"},
	{sin: "does not tell the bus of the savepoints of the library", subtest: "Transact in savepoint of the library", says: "the events [1 2 4 5 6 7 9] were delivered after the commit"},
}

// TestTransactorBroken runs the suite on broken transactors, in processes of their own,
// since it has to fail.
func TestTransactorBroken(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	for i, tt := range sins {
		t.Run(tt.sin+"/"+tt.subtest, func(t *testing.T) {
			t.Parallel()
			subtest := strings.ReplaceAll(tt.subtest, " ", "_")
			cmd := exec.CommandContext(t.Context(), self, "-test.v",
				"-test.run=^TestTransactorOfSinner$/^"+regexp.QuoteMeta(subtest)+"$")
			cmd.Env = append(os.Environ(), "TIDINGSTEST_SIN="+strconv.Itoa(i))
			out, err := cmd.CombinedOutput()
			exit := (*exec.ExitError)(nil)
			require.ErrorAs(t, err, &exit, "the suite passed:\n%s", out)
			require.Contains(t, string(out), "    --- FAIL: TestTransactorOfSinner/"+subtest)
			require.Contains(t, string(out), tt.says)
			require.NotContains(t, string(out), "DATA RACE")
			require.NotContains(t, string(out), "panic: ")
		})
	}
}

// Without what is basic the other subtests do not run: each of them would fail, and many
// would wait for the time limit.
func TestTransactorBasics(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	for _, sin := range []string{"does not add the transaction", "keeps the connection", "begins another transaction when nested"} {
		t.Run(sin, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.run=^TestTransactorOfSinner$")
			i := slices.IndexFunc(sins, func(s sinner) bool { return s.sin == sin })
			cmd.Env = append(os.Environ(), "TIDINGSTEST_SIN="+strconv.Itoa(i))
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Equal(t, 1, strings.Count(string(out), "    --- FAIL: TestTransactorOfSinner/"), "%s", out)
			require.Contains(t, string(out), "txtest: the other subtests did not run")
		})
	}
}

// If the cleanup of a subtest waits for a connection, as a pool does when it is closed,
// the suite does not wait for the time limit of go test.
func TestTransactorHangs(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.run=^TestTransactorOfSinner$/^goexit$")
	cmd.Env = append(os.Environ(), "TIDINGSTEST_SIN=closes")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "panic: txtest: TestTransactorOfSinner/goexit hangs: a transaction was not ended")
	require.Contains(t, string(out), ").close(", "the stack of the goroutine that hangs")
}

func TestTransactorOfSinner(t *testing.T) {
	index, ok := os.LookupEnv("TIDINGSTEST_SIN")
	if !ok {
		t.Skip("this is the other process of TestTransactorBroken")
	}
	if index == "closes" {
		txtest.Test(t, txtest.Features{Patience: 500 * time.Millisecond}, func(t *testing.T) txtest.Subject {
			s := newStore("leaks the transaction of a panic")
			t.Cleanup(s.close)
			return s.subject()
		})
		return
	}
	i, err := strconv.Atoi(index)
	require.NoError(t, err)
	tt := sins[i]
	features := txtest.Features{NoSavepoints: tt.flat, Patience: 3 * time.Second}
	txtest.Test(t, features, func(*testing.T) txtest.Subject { return newStore(tt.sin).subject() })
}
