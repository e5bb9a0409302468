package tidings

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings/internal/drivers"
	"github.com/tidings-go/tidings/internal/savepoint"
	"github.com/tidings-go/tidings/internal/sqltx"
	"github.com/tidings-go/tidings/internal/testhook"
)

// InTx runs fn in a transaction of db. It begins the transaction with opts, commits
// if fn returns nil, and rolls back otherwise. Events that fn publishes with its ctx
// are delivered after the commit; [Transact] has the details. InTransaction and
// BeforeCommit handlers get the transaction from TxFrom[*sql.Tx].
//
// Inside another InTx on the same db, InTx sets a savepoint instead, and rolls back
// to it if fn fails. The outer transaction's options apply then, and asking for
// another isolation level is an error. Inside an InTx on another db, it begins a
// separate transaction.
//
// InTx returns the error of fn, or of beginning, committing or rolling back. The drivers
// bun/driver/pgdriver and go-sql-driver/mysql may report a commit that did not happen: with
// them, InTx runs a statement before the COMMIT that fails then. If it
// cannot set or release a savepoint, it returns an error and rolls its scope back; if
// it cannot roll back to a savepoint, the outer transaction can no longer commit.
// InTx is safe to call concurrently and inside a handler.
func InTx(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(context.Context, *sql.Tx) error) error {
	if db == nil || fn == nil {
		return errors.New("tidings: InTx with a nil database or function")
	}
	return transact(ctx, Transactor{db, sqlTx(db, opts)}, func(ctx context.Context) error {
		return fn(ctx, nodeFrom(ctx).tx.sqlTxOf(db).value.(*sql.Tx))
	})
}

// SQL returns the [Transactor] of a database/sql database: its transactions are as those
// of [InTx] without options. It panics if db is nil.
func SQL(db *sql.DB) Transactor {
	mustNotBeNil(db == nil, "SQL", "*sql.DB")
	return Transactor{db, sqlTx(db, nil)}
}

// sqlTx returns the TxFunc of InTx.
func sqlTx(db *sql.DB, opts *sql.TxOptions) TxFunc {
	return func(ctx context.Context, body func(context.Context) error) error {
		transactions := nodeFrom(ctx).transactions()
		outer, entered := transactions.sqlTxOf(db), transactions.entered(db)
		switch {
		case outer != nil && entered:
			return outer.savepoint(ctx, opts, body)
		case entered:
			return errors.New("tidings: InTx inside a transaction of this database whose *sql.Tx is not in ctx: let the TxFunc, or the code that calls NewTxHook, add it with WithTx")
		}
		if tx, b := testhook.TxOf[*sql.Tx](ctx, db); b != nil {
			return inTest(ctx, b, &txState{value: tx, db: db, fate: &savepoint.Fate{}}, body)
		}
		if outer != nil {
			return errors.New("tidings: InTx with a *sql.Tx of this database in ctx, added by WithTx without NewTxHook: events would be delivered although that may roll back")
		}
		return begin(ctx, db, opts, body)
	}
}

// begin runs body in an outermost transaction.
func begin(ctx context.Context, db *sql.DB, opts *sql.TxOptions, body func(context.Context) error) (err error) {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("tidings: InTx: begin: %w", err)
	}
	check := drivers.CheckOf(db)
	committed := false
	defer func() {
		if committed {
			return
		}
		if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("tidings: InTx: rollback: %w", rerr))
		}
	}()
	if err := check.Begin(ctx, tx); err != nil {
		return fmt.Errorf("tidings: InTx: begin: %w", err)
	}
	m := &struct {
		fate savepoint.Fate
		step
	}{}
	s := txState{value: tx, db: db, fate: &m.fate}
	if opts != nil {
		s.isolation = opts.Isolation
	}
	if err := body(m.enter(ctx, s)); err != nil {
		return err
	}
	if err := m.fate.Check(); err != nil {
		return err
	}
	if err := check.Commit(ctx, tx); err != nil {
		return fmt.Errorf("tidings: InTx: commit: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("tidings: InTx: commit: %w", err)
	}
	committed = true
	return nil
}

// savepoint runs body in a savepoint of the transaction in outer.
func (outer *txState) savepoint(ctx context.Context, opts *sql.TxOptions, body func(context.Context) error) error {
	if opts != nil && opts.Isolation != sql.LevelDefault && opts.Isolation != outer.isolation {
		return fmt.Errorf("tidings: InTx with isolation level %v inside a transaction with %v: a savepoint cannot change it", opts.Isolation, outer.isolation)
	}
	tx := outer.value.(*sql.Tx)
	point := savepoint.Tx{
		Name: "tidings: InTx inside InTx",
		Exec: func(ctx context.Context, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
		Broken: func(_ context.Context, err error) error {
			err = fmt.Errorf("tidings: rolling back to a savepoint failed, so the transaction cannot commit: %w", err)
			if outer.fate == nil { // begun by another library, which may commit it
				return errors.Join(err, tx.Rollback())
			}
			outer.fate.Doom(err)
			return err
		},
	}
	return point.Run(ctx, func(ctx context.Context) error {
		return body(enter(ctx, txState{value: tx, db: outer.db, isolation: outer.isolation, fate: outer.fate}))
	})
}

// inTest runs body in a savepoint of a test's transaction, outer. Code under test
// sees that savepoint as a transaction: there is only one at a time, and its end
// makes the checks of a COMMIT.
func inTest(ctx context.Context, b *testhook.Base, outer *txState, body func(context.Context) error) error {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	return outer.savepoint(ctx, nil, b.Committing(func(ctx context.Context) error {
		if err := body(ctx); err != nil {
			return err
		}
		return outer.fate.Check()
	}))
}

func init() {
	sqltx.TxFunc = func(db *sql.DB, opts *sql.TxOptions) func(context.Context, func(context.Context) error) error {
		return sqlTx(db, opts)
	}
	testhook.WithTx = func(ctx context.Context, db, tx any) (context.Context, func() error) {
		s := txState{db: db, value: tx, fate: &savepoint.Fate{}}
		return enter(ctx, s), s.fate.Check
	}
}
