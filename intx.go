package tidings

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tidings-go/tidings/internal/testhook"
)

// InTx runs fn in a transaction of db: it begins one with opts, commits if
// fn returns nil and rolls back otherwise. What fn publishes with its ctx
// waits for the commit, see [Transact] for the rules. Handlers in the
// phases InTransaction and BeforeCommit find the transaction with
// TxFrom[*sql.Tx].
//
// Inside another InTx on the same db it sets a savepoint instead, and rolls
// back to that if fn fails; opts are those of the outer transaction then,
// and asking for another isolation level is an error. On another db it is a
// transaction of its own. A savepoint that cannot be set or released is an
// error, and its scope rolls back; if that fails as well, the outer
// transaction cannot commit any more.
func InTx(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(context.Context, *sql.Tx) error) error {
	if db == nil || fn == nil {
		return errors.New("tidings: InTx with a nil database or function")
	}
	if _, err := nodeFrom(ctx).openHook(); err != nil {
		return err
	}
	parent, run := enclosing(ctx, db, opts)
	if parent == nil && run == nil {
		run = begin(db, opts)
	}
	return transact(ctx, parent, run, func(ctx context.Context) error {
		n := nodeFrom(ctx)
		s := n.tx.sqlTx(db)
		if s.sql.queue == nil { // this is where it begins
			s.sql.queue = n.hook().queue
		}
		return fn(ctx, s.value.(*sql.Tx))
	})
}

// begin returns the TxFunc of an outermost transaction.
func begin(db *sql.DB, opts *sql.TxOptions) TxFunc {
	return func(ctx context.Context, body func(context.Context) error) (err error) {
		tx, err := db.BeginTx(ctx, opts)
		if err != nil {
			return fmt.Errorf("tidings: InTx: begin: %w", err)
		}
		committed := false
		defer func() {
			if committed {
				return
			}
			if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
				err = errors.Join(err, fmt.Errorf("tidings: InTx: rollback: %w", rerr))
			}
		}()
		known := &sqlTx{db: db}
		if opts != nil {
			known.isolation = opts.Isolation
		}
		if err := body(withSQLTx(ctx, tx, known)); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("tidings: InTx: commit: %w", err)
		}
		committed = true
		return nil
	}
}

// A sqlTx is what InTx knows of the transaction that it put into a context.
type sqlTx struct {
	db        *sql.DB
	isolation sql.IsolationLevel
	queue     *txQueue // of the events in it
}

func withSQLTx(ctx context.Context, tx *sql.Tx, known *sqlTx) context.Context {
	return nodeFrom(ctx).child(ctx).push(&txState{value: tx, sql: known})
}

// sqlTx returns the innermost state with a transaction of db, or nil.
func (s *txState) sqlTx(db *sql.DB) *txState {
	for ; s != nil; s = s.next {
		if s.sql != nil && s.sql.db == db {
			return s
		}
	}
	return nil
}

// enclosing returns a TxFunc that sets a savepoint in the transaction of db
// that ctx is in, if any, and the scope to nest in: the innermost one there,
// though scopes of other databases may lie further in. The scope is nil
// where the transaction is that of a test.
func enclosing(ctx context.Context, db *sql.DB, opts *sql.TxOptions) (*TxHook, TxFunc) {
	if n := nodeFrom(ctx); n != nil {
		if outer := n.tx.sqlTx(db); outer != nil {
			scope := n.tx
			for scope.hook.queue != outer.sql.queue {
				scope = scope.next
			}
			return scope.hook, savepoint(outer.value.(*sql.Tx), outer.sql, opts, outer.sql.queue.doom)
		}
	}
	for b := testhook.BaseFrom(ctx); b != nil; b = b.Outer {
		if tx, ok := b.Tx.(*sql.Tx); ok && b.DB == any(db) {
			run := savepoint(tx, &sqlTx{db: db}, nil, func(error) {})
			return nil, func(ctx context.Context, body func(context.Context) error) error {
				b.Mu.Lock()
				defer b.Mu.Unlock()
				return run(ctx, body)
			}
		}
	}
	return nil, nil
}

func init() {
	testhook.WithTx = func(ctx context.Context, db, tx any) context.Context {
		if db, ok := db.(*sql.DB); ok {
			if tx, ok := tx.(*sql.Tx); ok {
				return withSQLTx(ctx, tx, &sqlTx{db: db, queue: nodeFrom(ctx).hook().queue})
			}
		}
		return WithTx(ctx, tx)
	}
}

var savepoints atomic.Uint64

// savepoint returns the TxFunc of a scope within tx.
func savepoint(tx *sql.Tx, known *sqlTx, opts *sql.TxOptions, doom func(error)) TxFunc {
	return func(ctx context.Context, body func(context.Context) error) (err error) {
		if opts != nil && opts.Isolation != sql.LevelDefault && opts.Isolation != known.isolation {
			return fmt.Errorf("tidings: InTx with isolation level %v inside a transaction with %v: a savepoint cannot change it", opts.Isolation, known.isolation)
		}
		name := fmt.Sprintf("tidings_%d", savepoints.Add(1))
		if _, err := tx.ExecContext(ctx, "SAVEPOINT "+name); err != nil {
			return fmt.Errorf("tidings: InTx inside InTx: setting a savepoint: %w", err)
		}
		released := false
		defer func() {
			if released {
				return
			}
			// Also when ctx is cancelled: the outer transaction may not be.
			ctx := context.WithoutCancel(ctx)
			if _, rerr := tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+name); rerr != nil {
				rerr = fmt.Errorf("tidings: rolling back to a savepoint failed, so the transaction cannot commit: %w", rerr)
				doom(rerr)
				err = errors.Join(err, rerr)
				return
			}
			// The savepoint is still set. It is gone with the transaction
			// at the latest, so a failure here does no harm.
			_, _ = tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name)
		}()
		if err := body(withSQLTx(ctx, tx, known)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name); err != nil {
			return fmt.Errorf("tidings: InTx inside InTx: releasing the savepoint: %w", err)
		}
		released = true
		return nil
	}
}
