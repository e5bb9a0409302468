package tidings

import (
	"context"
	"errors"
)

// A TxFunc runs body inside a database transaction: it begins one, calls
// body, and commits if body returns nil, else rolls back and returns the
// error. body gets the context of TxFunc with the transaction in it, see
// [WithTx]. Inside another transaction of the same database, which [TxFrom]
// finds, a TxFunc uses a savepoint. It may call body again, to retry.
//
// A savepoint has to be rolled back also if the context of TxFunc has ended
// meanwhile, since the context of the outer transaction may not have: use
// [context.WithoutCancel] for it where the library does not.
//
// [InTx] is one for database/sql, once fn is bound. One for GORM, whose
// Transaction does the savepoints, is
//
//	func(ctx context.Context, body func(context.Context) error) error {
//		tx, ok := tidings.TxFrom[*gorm.DB](ctx)
//		if !ok {
//			tx = db.WithContext(ctx)
//		}
//		return tx.Transaction(func(tx *gorm.DB) error { return body(tidings.WithTx(ctx, tx)) })
//	}
type TxFunc func(ctx context.Context, body func(context.Context) error) error

// Transact runs fn inside the transaction that run makes. What fn publishes
// with its ctx waits until run has committed, and is dropped if it rolls
// back. Inside another Transact, the new scope is part of the outer one:
// what it publishes waits for the outermost commit. Transact cannot see
// which database run uses, so nested calls are for one database; for a
// transaction of its own on another, use a ctx from outside.
//
// Transact returns nil if and only if the transaction committed, or joined
// the outer one. Handlers that fail after the commit do not change that;
// the bus's error handler gets their errors. They run before Transact
// returns, when run has given the connection back, with the values of ctx
// but not its cancellation.
//
// The transaction counts as rolled back if fn or a BeforeCommit handler
// returns an error (also where run swallows it: Transact returns it then),
// panics or ends the goroutine, and if run fails. If run calls its body
// again, what the earlier attempt published counts as rolled back.
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

// transact is Transact in the scope parent, or outermost if that is nil.
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
	whole     TxHook // the attempts are scopes within
	pending   step   // that the TxFunc sees
	fn        func(context.Context) error
	attempt   *txScope // the latest one
	returned  bool     // it has
	err       error    // with this
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

// body is what the TxFunc calls, once per attempt.
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

// commit ends the scope after a TxFunc that returned nil.
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
