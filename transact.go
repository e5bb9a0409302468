package tidings

import (
	"context"
	"errors"
	"slices"

	"github.com/tidings-go/tidings/internal/testhook"
)

// A TxFunc runs body inside a database transaction: it begins one, calls
// body, and commits if body returns nil, else rolls back and returns the
// error. body gets the context of TxFunc with the transaction in it, see
// [WithTx]. Inside another transaction of the same database, which [TxFrom]
// finds, a TxFunc uses a savepoint. It may call body again, to retry.
//
// A savepoint has to be rolled back also if the context of TxFunc has ended
// meanwhile, since that of the outer transaction may not have: use
// [context.WithoutCancel] for it where the library does not.
//
// [InTx] is one for database/sql, once fn is bound. One for GORM, whose Transaction does the
// savepoints, is
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
	parent, err := nodeFrom(ctx).openHook()
	if err != nil {
		return err
	}
	return transact(ctx, parent, run, fn)
}

// transact is Transact in the scope parent, or outermost if that is nil.
func transact(ctx context.Context, parent *TxHook, run TxFunc, fn func(context.Context) error) error {
	var (
		whole     = newTxHook(parent) // the attempts are scopes within
		attempt   *TxHook             // the latest one
		returned  bool                // it has
		bodyErr   error               // with this error
		committed bool
	)
	defer func() {
		if committed {
			return
		}
		// An error, or fn is panicking or ending the goroutine.
		whole.rollback()
		if parent == nil {
			whole.queue.finish(outside(ctx), report)
		}
	}()
	outer := nodeFrom(ctx).child(ctx).push(&txState{pending: whole})
	err := run(withBase(outer, parent), func(ctx context.Context) error {
		if attempt != nil {
			attempt.rollback()
			whole.reopen()
		}
		attempt, returned = newTxHook(nodeFrom(ctx).scopeWithin(whole)), false
		inside := attempt.enter(ctx)
		bodyErr = fn(inside)
		if bodyErr == nil && parent == nil {
			bodyErr = whole.queue.prepare(inside, inside.tx)
		}
		returned = true
		return bodyErr
	})
	switch {
	case err != nil:
		return err
	case attempt == nil:
		return errors.New("tidings: the TxFunc returned nil without calling its body")
	case !returned:
		return errors.New("tidings: the TxFunc recovered a panic of its body and returned nil")
	case bodyErr != nil:
		return bodyErr
	}
	if err := whole.commit(); err != nil {
		return err
	}
	committed = true
	if parent == nil {
		whole.queue.finish(outside(ctx), report)
	}
	return nil
}

// outside returns the context for what runs after the end of a transaction:
// what is committed is delivered even if the client has hung up.
func outside(ctx context.Context) context.Context { return withoutTx(context.WithoutCancel(ctx)) }

// withoutTx returns a context that is in no transaction.
func withoutTx(ctx context.Context) context.Context {
	n := nodeFrom(ctx)
	if n == nil || n.tx == nil {
		return ctx
	}
	return &node{Context: ctx, up: n}
}

// withBase lets the TxFunc of an outermost scope find the transactions of a
// test, which it is to nest in, see internal/testhook.
func withBase(ctx context.Context, parent *TxHook) context.Context {
	if parent != nil {
		return ctx
	}
	var bases []*testhook.Base // innermost first
	for b := testhook.BaseFrom(ctx); b != nil; b = b.Outer {
		bases = append(bases, b)
	}
	for _, b := range slices.Backward(bases) {
		ctx = WithTx(ctx, b.Tx)
	}
	return ctx
}
