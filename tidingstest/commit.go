package tidingstest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/savepoint"
	"github.com/tidings-go/tidings/internal/testhook"
)

// Commit runs fn as if in a transaction of its own that commits, although tx,
// which the test has begun on db, stays open, for the test to roll back at its
// end. It runs the handlers, of every phase, of the events that fn publishes,
// and of the events that these handlers publish:
//
//   - fn's context is inside tx: [tidings.TxFrom] finds it, and events wait.
//     Once fn has returned nil, the BeforeCommit handlers run, and after them
//     the others.
//   - Code in fn or in a handler that begins a transaction on db, with
//     [tidings.InTx], or with [tidings.Transact] and a TxFunc that uses the
//     result of TxFrom, gets a savepoint in tx. In fn its events wait for the
//     end of fn, elsewhere for the release of this savepoint.
//   - Code that uses db itself is outside tx and does not see its changes.
//
// db and tx are a [*sql.DB] and [*sql.Tx], or their equivalents in another
// library: a *pgxpool.Pool and pgx.Tx, a *gorm.DB and *gorm.DB.
//
// Commit returns the error of fn or of a BeforeCommit handler, after the
// AfterRollback handlers have run; otherwise the errors of the handlers after
// the commit, joined. If tx has the ExecContext of database/sql, the writes of
// a failed fn are undone.
//
// If tx is a [*sql.Tx], Commit also returns an error if a constraint does not
// hold that the database checks at COMMIT: a deferred one, on Postgres and
// SQLite. The same applies to transactions that InTx begins on db. With another
// library, and for a TxFunc of your own, such a constraint is not checked: end
// the test with SET CONSTRAINTS ALL IMMEDIATE, or PRAGMA foreign_key_check.
//
// All code shares the connection of tx here, where otherwise each transaction
// has its own. Transactions that InTx begins take turns; the test itself should
// wait ([Drain]) for [tidings.Async] handlers before it uses tx again, and so
// should code with its own TxFuncs.
func Commit(ctx context.Context, db, tx any, fn func(context.Context) error) error {
	if db == nil || tx == nil || fn == nil {
		return errors.New("tidingstest: Commit with a nil database, transaction or function")
	}
	if !reflect.TypeOf(db).Comparable() {
		return fmt.Errorf("tidingstest: Commit with a %T for the database, which cannot be compared: pass a pointer", db)
	}
	if _, in := tidings.TxDatabase(ctx); in {
		return errors.New("tidingstest: Commit with a context that is in a transaction already: pass the one from outside of it")
	}
	outside, base := withBase(ctx, db, tx)
	entered, doomed := testhook.WithTx(outside, db, tx)
	inside, hook := tidings.NewTxHook(entered, db)
	defer hook.Rollback(outside)
	err := undoable(ctx, base, base.Committing(func(context.Context) error {
		if err := fn(inside); err != nil {
			return err
		}
		if err := hook.Prepare(inside); err != nil {
			return err
		}
		return doomed()
	}))
	if err != nil {
		return err
	}
	return hook.Commit(outside)
}

// withBase returns a context in which tx replaces new transactions on db.
func withBase(ctx context.Context, db, tx any) (context.Context, *testhook.Base) {
	for b := testhook.BaseFrom(ctx); b != nil; b = b.Outer {
		// Transactions in handlers that still run wait for this one.
		if same(b.DB, db) && same(b.Tx, tx) {
			return ctx, b
		}
	}
	ctx = testhook.WithBase(ctx, db, tx, checksOf(tx))
	return ctx, testhook.BaseFrom(ctx)
}

func same(a, b any) bool { return reflect.ValueOf(a).Comparable() && a == b }

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// undoable runs fn in a savepoint of base's transaction, if that supports
// savepoints, while no handler in another goroutine has one there.
func undoable(ctx context.Context, base *testhook.Base, fn func(context.Context) error) (err error) {
	base.Mu.Lock()
	defer base.Mu.Unlock()
	db, ok := base.Tx.(execer)
	if !ok {
		return fn(ctx)
	}
	return savepoint.Tx{
		Name: "tidingstest: Commit",
		Exec: func(ctx context.Context, statement string) error {
			_, err := db.ExecContext(ctx, statement)
			return err
		},
		Broken: func(_ context.Context, err error) error {
			return fmt.Errorf("tidingstest: Commit: undoing what failed: %w", err)
		},
	}.Run(ctx, fn)
}

// Sandbox begins a transaction on db, rolls it back at the end of the test, and
// returns a context in which the transaction replaces db: where code begins a
// transaction with [tidings.InTx], it gets a savepoint, and counts as committed
// when the savepoint is released and the constraints hold that are checked at
// COMMIT. So code that commits can be tested, with all of its handlers, and
// leaves no trace:
//
//	ctx, tx := tidingstest.Sandbox(t, db)
//	err := crm.Accept(ctx, 7) // calls tidings.InTx(ctx, db, ...)
//	...
//	tx.QueryRow("SELECT state FROM proposals WHERE id = 7") // sees it
//
// See [Commit] for code that is called inside a transaction, and for the rules.
// Call Sandbox before [NewBus], so that the bus is closed while handlers can
// still use the transaction.
func Sandbox(t testing.TB, db *sql.DB) (context.Context, *sql.Tx) {
	t.Helper()
	// Not t.Context(), which ends before the bus is closed.
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatalf("tidingstest: Sandbox: begin: %v", err)
	}
	t.Cleanup(func() {
		if err := tx.Rollback(); err != nil {
			t.Errorf("tidingstest: Sandbox: rolling back: %v", err)
		}
	})
	return testhook.WithBase(t.Context(), db, tx, checksOf(tx)), tx
}
