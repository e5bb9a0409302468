// Package txtest checks a [tidings.Transactor]: that rows and events are committed
// together, or not at all, whatever happens in a transaction. A [tidings.TxFunc] for a
// database library should pass it.
//
//	func TestTransactor(t *testing.T) {
//		txtest.Test(t, txtest.Features{}, func(t *testing.T) txtest.Subject {
//			pool, observer := open(t) // an empty table, and a pool of one connection
//			return txtest.Subject{
//				Transactor: mylib.Transactor(pool),
//				Insert: func(ctx context.Context, n int) error {
//					tx, ok := tidings.TxFrom[*mylib.Tx](ctx, pool)
//					if !ok {
//						return errors.New("not in a transaction")
//					}
//					return tx.Exec(ctx, "INSERT INTO numbers (n) VALUES ($1)", n)
//				},
//				...
//			}
//		})
//	}
package txtest

import (
	"context"
	"testing"
	"time"

	"github.com/tidings-go/tidings"
)

// Features lists what a transactor does not promise, so that [Test] does not require
// it. The zero Features requires everything.
type Features struct {
	// NoSavepoints reports that the database or the library has none. A Transact
	// inside another one must then fail without calling its function: otherwise the
	// rows of an inner function that fails would stay, without their events.
	NoSavepoints bool

	// Patience limits the time of each subtest; 0 means thirty seconds. A connection that
	// is not given back in time fails the subtest then.
	Patience time.Duration
}

// A Subject is a transactor under test, opened for one subtest, on a database of its
// own. Functions that are required must not be nil.
type Subject struct {
	// Transactor runs the transactions. Its pool must have exactly one connection, so
	// that a transaction that is not ended, or is ended too late, does not stay unseen.
	Transactor tidings.Transactor

	// Insert adds a row with the number n in the transaction that ctx is in, which it
	// finds with [tidings.TxFrom]. It is required. It returns an error if ctx is in no
	// transaction. Handlers call it too.
	Insert func(ctx context.Context, n int) error

	// Fail runs a statement that the database refuses, in the transaction that ctx is
	// in, and returns the error. It is required.
	Fail func(ctx context.Context) error

	// Stored returns the numbers of all committed rows, in the order of insertion. It
	// is required. It uses another connection than the pool's, and does not wait for
	// transactions that are open.
	Stored func(ctx context.Context) ([]int, error)

	// FailCommit makes the COMMIT of the transaction that ctx is in fail, for example by
	// the violation of a deferred constraint, and returns nil. Without FailCommit the
	// subtests about this are skipped.
	FailCommit func(ctx context.Context) error

	// Kept returns the context that the library keeps in the transaction that ctx is
	// in, and hands to hooks and callbacks, such as Statement.Context of GORM. Leave it
	// nil if the library keeps none; the subtests about it are skipped then.
	Kept func(ctx context.Context) context.Context

	// Native runs fn in a savepoint that the library sets by its own means, without
	// Transact, in the transaction that ctx is in: Begin of a pgx.Tx, or Transaction of a
	// *gorm.DB. If fn fails or panics, Native rolls back to the savepoint, and returns the
	// error. fn gets the context that code in the savepoint would use, which may be
	// ctx. Leave it nil if the transactor does not notice such savepoints; the subtests
	// about them are skipped then.
	Native func(ctx context.Context, fn func(context.Context) error) error

	// Sandbox begins a transaction on the pool, by the means of the library, that is
	// rolled back with t.Cleanup, and returns it as TxFrom would. It is the tx of
	// tidingstest.Commit. Without Sandbox the subtest about this is skipped.
	Sandbox func(t *testing.T) (tx any)
}

// Test checks that a transactor does what [tidings.TxFunc] requires, and so, that
// [tidings.Transact] keeps its promises with it. Each requirement is a subtest, for which
// open is called anew; open must end what it starts with t.Cleanup. One subtest
// calls it twice, and the two databases must be separate then.
//
// A transaction that keeps the connection makes its subtest fail when the time of
// Features.Patience is over. If even the cleanup of the subtest hangs, Test panics with the
// stacks of all goroutines after twice that time.
func Test(t *testing.T, features Features, open func(t *testing.T) Subject) {
	t.Helper()
	if features.Patience == 0 {
		features.Patience = 30 * time.Second
	}
	for _, c := range checks {
		if c.nests && features.NoSavepoints || c.flat && !features.NoSavepoints {
			continue
		}
		passed := t.Run(c.name, func(t *testing.T) { newRig(t, features, open).run(c.run) })
		if !passed && c.basic {
			t.Log("txtest: the other subtests did not run, since all of them need what this one checks")
			return
		}
	}
}

type check struct {
	name  string
	run   func(*rig)
	basic bool // the others make no sense without it
	nests bool // it needs savepoints
	flat  bool // it is for transactors without savepoints
}

var checks = []check{
	{name: "TxFrom", run: checkTxFrom, basic: true},
	{name: "commit", run: checkCommit, basic: true},
	{name: "inner commits", run: checkInnerCommits, basic: true, nests: true},
	{name: "nesting refused", run: checkNestingRefused, basic: true, flat: true},
	{name: "context", run: checkContext},
	{name: "error", run: checkError},
	{name: "panic", run: checkPanic},
	{name: "goexit", run: checkGoexit},
	{name: "statement fails", run: checkStatementFails},
	{name: "commit fails", run: checkCommitFails},
	{name: "cancelled before", run: checkCancelledBefore},
	{name: "cancelled", run: checkCancelled},
	{name: "cancelled in a statement", run: checkCancelledStatement},
	{name: "cancelled at the end", run: checkCancelledAtEnd},
	{name: "finished", run: checkFinished},
	{name: "fails once", run: checkFailsOnce},
	{name: "retry", run: checkRetry},
	{name: "retry gives up", run: checkRetryGivesUp},
	{name: "retry after COMMIT", run: checkRetryCommit},
	{name: "concurrent", run: checkConcurrent},

	{name: "InTransaction handler", run: checkInTransaction},
	{name: "InTransaction handler fails", run: checkInTransactionFails},
	{name: "BeforeCommit handler", run: checkBeforeCommit},
	{name: "BeforeCommit handler fails", run: checkBeforeCommitFails},
	{name: "AfterCommit handler", run: checkAfterCommit},
	{name: "AfterRollback handler", run: checkAfterRollback},
	{name: "caller cancelled before delivery", run: checkHangsUp},

	{name: "inner context", run: checkInnerContext, nests: true},
	{name: "inner fails", run: checkInnerFails, nests: true},
	{name: "inner panics", run: checkInnerPanics, nests: true},
	{name: "inner goexit", run: checkInnerGoexit, nests: true},
	{name: "inner cancelled", run: checkInnerCancelled, nests: true},
	{name: "inner cancelled at the end", run: checkInnerCancelledAtEnd, nests: true},
	{name: "statement fails in savepoint", run: checkStatementFailsInside, nests: true},
	{name: "outer fails", run: checkOuterFails, nests: true},
	{name: "siblings", run: checkSiblings, nests: true},
	{name: "three deep", run: checkThreeDeep, nests: true},
	{name: "outer context inside", run: checkOuterContext, nests: true},
	{name: "handlers in savepoints", run: checkHandlersInside, nests: true},
	{name: "savepoints of handlers", run: checkHandlersNest, nests: true},

	{name: "two databases", run: checkTwoDatabases},
	{name: "kept context", run: checkKept},
	{name: "kept context inside", run: checkKeptInside, nests: true},
	{name: "savepoint of the library", run: checkNative, nests: true},
	{name: "savepoint of the library, panic", run: checkNativePanics, nests: true},
	{name: "savepoint of the library, outer fails", run: checkNativeOuterFails, nests: true},
	{name: "savepoints of the library, nested", run: checkNativeNested, nests: true},
	{name: "savepoint of the library in Transact", run: checkNativeInside, nests: true},
	{name: "Transact in savepoint of the library", run: checkNativeAround, nests: true},
	{name: "transaction of a test", run: checkSandbox, nests: true},
}
