package tidings

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"

	"github.com/tidings-go/tidings/internal/savepoint"
	"github.com/tidings-go/tidings/internal/testhook"
)

// A Library tells [NewTransactor] how the transactions of a database library work. T is
// their type, such as pgx.Tx. All functions but Enter are required.
type Library[T any] struct {
	// Begin begins a transaction.
	Begin func(ctx context.Context) (T, error)

	// Exec runs one of the statements "SAVEPOINT name", "RELEASE SAVEPOINT name" and
	// "ROLLBACK TO SAVEPOINT name" in tx.
	Exec func(ctx context.Context, tx T, statement string) error

	// Commit and Rollback end a transaction that Begin has begun. Their context is never
	// cancelled: a COMMIT that is interrupted may have happened or not. Rollback is also
	// called after Commit has failed; if tx has ended, it returns nil or sql.ErrTxDone.
	Commit   func(ctx context.Context, tx T) error
	Rollback func(ctx context.Context, tx T) error

	// Enter returns a context in which code finds tx: in the transaction, and in each of
	// its savepoints. It calls [WithTx], for each form of the transaction that code may
	// look for; one of them must be T. nil stands for WithTx(ctx, db, tx).
	Enter func(ctx context.Context, tx T) context.Context
}

// NewTransactor returns a [Transactor] for the transactions of a library on the database
// that db stands for, as in [WithTx]. It begins and ends them, sets savepoints in a
// transaction of db that is under way, also if other code has begun it with [NewTxHook],
// and rolls back if the body returns an error, panics or ends the goroutine. If it cannot
// roll back to a savepoint, it rolls back all of the transaction. In a context of
// [tidingstest.Sandbox], the transaction of the test replaces db.
//
// This is the Transactor of an *ent.Client, for which ent needs the feature sql/execquery:
//
//	tidings.NewTransactor(client, tidings.Library[*ent.Tx]{
//		Begin:    client.Tx,
//		Exec:     func(ctx context.Context, tx *ent.Tx, s string) error { _, err := tx.ExecContext(ctx, s); return err },
//		Commit:   func(_ context.Context, tx *ent.Tx) error { return tx.Commit() },
//		Rollback: func(_ context.Context, tx *ent.Tx) error { return tx.Rollback() },
//	})
//
// Package tidingstest/txtest tests a Transactor. For pgx, GORM, bun and sqlx there are
// modules: tx/pgxtx, tx/gormtx, tx/buntx and tx/sqlxtx.
//
// NewTransactor panics if db cannot stand for a database, or a function is missing.
//
// [tidingstest.Sandbox]: https://pkg.go.dev/github.com/tidings-go/tidings/tidingstest#Sandbox
func NewTransactor[T any](db any, library Library[T]) Transactor {
	mustBeDatabase(db, "NewTransactor")
	mustNotBeNil(library.Begin == nil || library.Exec == nil || library.Commit == nil || library.Rollback == nil,
		"NewTransactor", "function of the Library")
	if library.Enter == nil {
		library.Enter = func(ctx context.Context, tx T) context.Context { return WithTx(ctx, db, tx) }
	}
	l := connected[T]{library, db}
	return Transactor{db, l.run}
}

// connected is a Library with its database.
type connected[T any] struct {
	Library[T]
	db any
}

// run is the TxFunc.
func (l *connected[T]) run(ctx context.Context, body func(context.Context) error) error {
	outer, found := TxFrom[T](ctx, l.db)
	entered := nodeFrom(ctx).transactions().entered(l.db)
	switch {
	case found && entered:
		return l.savepoint(ctx, outer, body)
	case entered:
		return fmt.Errorf("tidings: a transaction inside one of the same database whose %v is not in ctx: let the TxFunc, or the code that calls NewTxHook, add it with WithTx", reflect.TypeFor[T]())
	}
	if of, b := testhook.TxOf[any](ctx, l.db); b != nil {
		tx, ok := of.(T)
		if !ok {
			return fmt.Errorf("tidings: a transaction of a test that is a %T, where one that is a %v was expected: pass that to package tidingstest", of, reflect.TypeFor[T]())
		}
		b.Mu.Lock()
		defer b.Mu.Unlock()
		return l.savepoint(ctx, tx, b.Committing(body))
	}
	if found {
		return fmt.Errorf("tidings: a transaction with a %v of the same database in ctx, added by WithTx without NewTxHook: events would be delivered although that may roll back", reflect.TypeFor[T]())
	}
	return l.begin(ctx, body)
}

// begin runs body in an outermost transaction.
func (l *connected[T]) begin(ctx context.Context, body func(context.Context) error) (err error) {
	tx, err := l.Begin(ctx)
	if err != nil {
		return fmt.Errorf("tidings: begin: %w", err)
	}
	end := context.WithoutCancel(ctx)
	committed := false
	defer func() {
		if committed {
			return
		}
		if rerr := l.Rollback(end, tx); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("tidings: rollback: %w", rerr))
		}
	}()
	if err := body(l.Enter(ctx, tx)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("tidings: commit: %w", err)
	}
	if err := l.Commit(end, tx); err != nil {
		return fmt.Errorf("tidings: commit: %w", err)
	}
	committed = true
	return nil
}

// savepoint runs body in a savepoint of outer.
func (l *connected[T]) savepoint(ctx context.Context, outer T, body func(context.Context) error) error {
	return savepoint.Tx{
		Name: "tidings: a transaction inside another",
		Exec: func(ctx context.Context, statement string) error { return l.Exec(ctx, outer, statement) },
		Broken: func(ctx context.Context, err error) error {
			err = fmt.Errorf("tidings: rolling back to a savepoint failed, so all of the transaction is rolled back: %w", err)
			return errors.Join(err, l.Rollback(ctx, outer))
		},
	}.Run(ctx, func(ctx context.Context) error { return body(l.Enter(ctx, outer)) })
}
