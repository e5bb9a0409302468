package tidings

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
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
	parent, run, err := enclosing(ctx, db, opts)
	if err != nil {
		return err
	}
	return transact(ctx, parent, run, func(ctx context.Context) error {
		return fn(ctx, nodeFrom(ctx).tx.of(db).value.(*sql.Tx))
	})
}

// enclosing returns the scope that a transaction of db is nested in, nil
// where it is outermost, and the TxFunc for it.
func enclosing(ctx context.Context, db *sql.DB, opts *sql.TxOptions) (parent *TxHook, run TxFunc, err error) {
	n := nodeFrom(ctx)
	innermost, err := n.openHook()
	if err != nil {
		return nil, nil, err
	}
	if n != nil {
		if outer := n.tx.of(db); outer != nil {
			return n.tx.scopeIn(outer), savepoint(outer, opts), nil
		}
		if innermost == n.tx.pendingHook() {
			parent = innermost // this is part of a TxFunc
		}
	}
	for b := testhook.BaseFrom(ctx); b != nil; b = b.Outer {
		if tx, ok := b.Tx.(*sql.Tx); ok && b.DB == any(db) {
			s := &txState{value: tx, db: db, fate: &txFate{}}
			return parent, inTest(b, s.fate.decide(savepoint(s, nil))), nil
		}
	}
	return parent, begin(db, opts), nil
}

// A txFate is shared by the scopes of one transaction of a database.
type txFate struct {
	mu     sync.Mutex
	doomed error // why it cannot commit
}

func (f *txFate) doom(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doomed = err
}

func (f *txFate) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doomed
}

// decide returns run, which rolls back what is doomed by the end of its body.
func (f *txFate) decide(run TxFunc) TxFunc {
	return func(ctx context.Context, body func(context.Context) error) error {
		return run(ctx, func(ctx context.Context) error {
			if err := body(ctx); err != nil {
				return err
			}
			return f.check()
		})
	}
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
		m := &struct {
			fate txFate
			step
		}{}
		s := txState{value: tx, db: db, fate: &m.fate}
		if opts != nil {
			s.isolation = opts.Isolation
		}
		if err := body(m.enter(ctx, s)); err != nil {
			return err
		}
		if err := m.fate.check(); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("tidings: InTx: commit: %w", err)
		}
		committed = true
		return nil
	}
}

// of returns the innermost state with a transaction of db, or nil.
func (s *txState) of(db *sql.DB) *txState {
	for ; s != nil; s = s.next {
		if s.db == db {
			return s
		}
	}
	return nil
}

// scopeIn returns the innermost scope of the transaction that outer, a state
// further out, holds. Scopes of other databases may lie further in.
func (s *txState) scopeIn(outer *txState) *TxHook {
	entered := s // right inside of outer, in the end
	for t := s; t != outer; t = t.next {
		if t.value == nil && t.pending == nil {
			entered = t
		}
	}
	for s.hook.queue != entered.hook.queue {
		s = s.next
	}
	return s.hook
}

// inTest returns run, a savepoint in the transaction of a test, as what counts
// as a transaction there: one at a time, and with what a COMMIT checks.
func inTest(b *testhook.Base, run TxFunc) TxFunc {
	return func(ctx context.Context, body func(context.Context) error) error {
		b.Mu.Lock()
		defer b.Mu.Unlock()
		return run(ctx, b.Committing(body))
	}
}

func init() {
	testhook.WithTx = func(ctx context.Context, db, tx any) (context.Context, func() error) {
		s := txState{value: tx, fate: &txFate{}}
		if tx, ok := tx.(*sql.Tx); ok && tx != nil {
			s.db, _ = db.(*sql.DB)
		}
		return enter(ctx, s), s.fate.check
	}
}

var savepoints atomic.Uint64

// savepoint returns the TxFunc of a scope within the transaction in outer.
func savepoint(outer *txState, opts *sql.TxOptions) TxFunc {
	return func(ctx context.Context, body func(context.Context) error) (err error) {
		if opts != nil && opts.Isolation != sql.LevelDefault && opts.Isolation != outer.isolation {
			return fmt.Errorf("tidings: InTx with isolation level %v inside a transaction with %v: a savepoint cannot change it", opts.Isolation, outer.isolation)
		}
		tx := outer.value.(*sql.Tx)
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
				outer.fate.doom(rerr)
				err = errors.Join(err, rerr)
				return
			}
			// The savepoint is still set. It is gone with the transaction
			// at the latest, so a failure here does no harm.
			_, _ = tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name)
		}()
		if err := body(enter(ctx, txState{value: tx, db: outer.db, isolation: outer.isolation, fate: outer.fate})); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name); err != nil {
			return fmt.Errorf("tidings: InTx inside InTx: releasing the savepoint: %w", err)
		}
		released = true
		return nil
	}
}
