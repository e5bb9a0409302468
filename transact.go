package tidings

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
)

// A TxFunc runs body inside a database transaction. It begins a transaction, calls
// body, and commits if body returns nil; otherwise it rolls back and returns the
// error. The TxFunc passes its own context to body, with the transaction added by
// [WithTx]. If [TxFrom] finds an open transaction of the same database, the TxFunc
// sets a savepoint in it instead of beginning a new one. To retry, for example after
// a serialization failure, it may call body again.
//
// A TxFunc must roll back to its savepoint even if its context has ended, since the
// context of the outer transaction may not have ended. Use [context.WithoutCancel]
// for that if the library does not.
//
// [NewTransactor] makes a TxFunc that does all of this from the functions of a library.
// Write one yourself only to add to it, for example retries:
//
//	func(ctx context.Context, body func(context.Context) error) (err error) {
//		for range 3 {
//			if err = of.Run(ctx, body); err == nil || !isSerializationFailure(err) {
//				break
//			}
//		}
//		return err
//	}
type TxFunc func(ctx context.Context, body func(context.Context) error) error

// A Transactor runs transactions of one database. [SQL] returns one for database/sql.
type Transactor struct {
	DB  any    // stands for the database, as in [WithTx]
	Run TxFunc // begins and ends the transactions, and adds them with [WithTx] for DB
}

// Transact runs fn inside a transaction that t begins and ends. Events that fn
// publishes with its ctx are delivered after the commit, and dropped if the
// transaction rolls back. Inside another transaction of the same database, they wait
// for the outermost commit. Inside a transaction of another database, the new one is
// separate.
//
// An event belongs to the transaction or savepoint that was begun last on the database
// of its context, whichever context of that transaction it is published with, and in
// whichever goroutine: also with a context that a library has kept, such as the
// Statement.Context of GORM in a model hook.
//
// Transact returns nil if and only if the transaction has committed, or has joined
// the outer one. If ctx has ended, the error also wraps that of ctx, whatever the driver
// says. It does not return the errors of handlers that run after the commit;
// the bus's error handler gets them. These handlers run before Transact returns, when
// run has given the connection back. Their context has the values of ctx but not its
// cancellation.
//
// The bus treats the transaction as rolled back if run fails, and if fn or a
// BeforeCommit handler returns an error, panics or ends the goroutine. If run
// swallows that error, Transact returns it. If run calls its body again, the events
// of the earlier attempt count as rolled back.
//
// Transact is safe to call concurrently and inside a handler.
func Transact(ctx context.Context, t Transactor, fn func(context.Context) error) error {
	if t.Run == nil || fn == nil {
		return errors.New("tidings: Transact with a nil function")
	}
	if t.DB == nil || !reflect.TypeOf(t.DB).Comparable() {
		return fmt.Errorf("tidings: Transact with a Transactor whose DB is %T: set what stands for the database, such as the *sql.DB", t.DB)
	}
	return transact(ctx, t, fn)
}

func transact(ctx context.Context, of Transactor, fn func(context.Context) error) error {
	parent, err := nodeFrom(ctx).scopeOn(of.DB)
	if err != nil {
		return err
	}
	t := newTransaction(of.DB, parent, fn)
	defer func() {
		if !t.committed { // an error, or fn is panicking or ending the goroutine
			t.whole.scope.Rollback()
		}
		if parent == nil {
			t.whole.finish(outside(ctx), report)
		}
	}()
	if err := of.Run(withBase(t.pending.enter(ctx, txState{db: of.DB, pending: t, own: t.whole.scope}), parent), t.body); err != nil {
		return cancelled(ctx, err)
	}
	return t.commit()
}

// cancelled returns err, which also wraps the error of ctx if ctx has ended: database/sql
// rolls back then, and returns sql.ErrTxDone, or what the driver says.
func cancelled(ctx context.Context, err error) error {
	cause := ctx.Err()
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w (%w)", err, cause)
}

// A transaction is the state of one call of transact.
type transaction struct {
	db        any
	whole     TxHook               // the scope; each attempt is a scope inside it
	inside    atomic.Pointer[node] // in which fn runs; nil before and after
	pending   step                 // the step that the TxFunc sees
	fn        func(context.Context) error
	attempt   *txScope // the latest one
	returned  bool     // fn has, in the latest attempt
	err       error    // the error of the latest attempt
	committed bool
}

func newTransaction(db any, parent *txScope, fn func(context.Context) error) *transaction {
	if parent == nil {
		t := &struct {
			transaction
			scope txScope
			queue txQueue
		}{}
		t.scope.Init(&t.queue)
		t.db, t.whole, t.fn = db, TxHook{&t.scope}, fn
		return &t.transaction
	}
	t := &struct {
		transaction
		scope txScope
	}{}
	t.scope.Nest(parent)
	t.db, t.whole, t.fn = db, TxHook{&t.scope}, fn
	return &t.transaction
}

// body is the function that the TxFunc calls, once per attempt.
func (t *transaction) body(ctx context.Context) error {
	if t.attempt != nil {
		t.attempt.Rollback()
		if t.whole.scope.Outermost() {
			t.whole.scope.Queue().Reopen()
		}
	}
	inside := newScope(ctx, t.db, nodeFrom(ctx).scopeWithin(t.whole.scope))
	t.attempt, t.returned = inside.tx.scope, false
	t.inside.Store(inside)
	defer t.inside.Store(nil)
	t.err = t.fn(inside)
	if t.err == nil && t.whole.scope.Outermost() {
		t.err = t.whole.prepare(inside)
	}
	t.returned = true
	return t.err
}

// commit ends the scope after the TxFunc has returned nil.
func (t *transaction) commit() error {
	switch {
	case t.attempt == nil:
		return errors.New("tidings: the TxFunc returned nil without calling its body")
	case !t.returned:
		return errors.New("tidings: the TxFunc recovered a panic of its body and returned nil")
	case t.err != nil:
		return t.err
	}
	if t.committed = t.whole.scope.Commit(); !t.committed {
		return ErrTxDone
	}
	return nil
}
