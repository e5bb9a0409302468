package tidings

import (
	"context"
	"errors"
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
// [InTx] is built on a TxFunc for database/sql. This is a TxFunc for GORM, whose
// Transaction method sets the savepoints:
//
//	func(ctx context.Context, body func(context.Context) error) error {
//		tx, ok := tidings.TxFrom[*gorm.DB](ctx)
//		if !ok {
//			tx = db.WithContext(ctx)
//		}
//		return tx.Transaction(func(tx *gorm.DB) error { return body(tidings.WithTx(ctx, tx)) })
//	}
type TxFunc func(ctx context.Context, body func(context.Context) error) error

// Transact runs fn inside a transaction that run begins and ends. Events that fn
// publishes with its ctx are delivered after the commit, and dropped if the
// transaction rolls back. Inside another Transact, they wait for the outermost
// commit. Transact cannot see which database run uses, so nest calls only on one
// database; for a separate transaction on another database, use a ctx from outside
// the first.
//
// Transact returns nil if and only if the transaction has committed, or has joined
// the outer one. It does not return the errors of handlers that run after the commit;
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
func Transact(ctx context.Context, run TxFunc, fn func(context.Context) error) error {
	if run == nil || fn == nil {
		return errors.New("tidings: Transact with a nil function")
	}
	parent, err := nodeFrom(ctx).openScope()
	if err != nil {
		return err
	}
	return transact(ctx, parent, run, fn)
}

// transact is Transact with the enclosing scope parent; nil makes the new one the
// outermost.
func transact(ctx context.Context, parent *txScope, run TxFunc, fn func(context.Context) error) error {
	t := newTransaction(parent, fn)
	defer func() {
		if !t.committed { // an error, or fn is panicking or ending the goroutine
			t.whole.scope.Rollback()
		}
		if parent == nil {
			t.whole.finish(outside(ctx), report)
		}
	}()
	if err := run(withBase(t.pending.enter(ctx, txState{pending: t.whole.scope}), parent), t.body); err != nil {
		return err
	}
	return t.commit()
}

// A transaction is the state of one call of transact.
type transaction struct {
	whole     TxHook // the scope; each attempt is a scope inside it
	pending   step   // the step that the TxFunc sees
	fn        func(context.Context) error
	attempt   *txScope // the latest one
	returned  bool     // fn has, in the latest attempt
	err       error    // the error of the latest attempt
	committed bool
}

func newTransaction(parent *txScope, fn func(context.Context) error) *transaction {
	if parent == nil {
		t := &struct {
			transaction
			scope txScope
			queue txQueue
		}{}
		t.scope.Init(&t.queue)
		t.whole, t.fn = TxHook{&t.scope}, fn
		return &t.transaction
	}
	t := &struct {
		transaction
		scope txScope
	}{}
	t.scope.Nest(parent)
	t.whole, t.fn = TxHook{&t.scope}, fn
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
	inside := newScope(ctx, nodeFrom(ctx).scopeWithin(t.whole.scope))
	t.attempt, t.returned = inside.tx.scope, false
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
