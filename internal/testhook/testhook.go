// Package testhook gives the testing kits, tidingstest and durabletest, access to
// internals of package tidings.
package testhook

import (
	"context"
	"fmt"
	"sync"
)

// A Base is a transaction that a test has begun and will roll back. Code that begins
// a transaction on DB gets a savepoint in Tx instead; releasing the savepoint counts
// as the commit.
type Base struct {
	DB, Tx any
	Outer  *Base
	Mu     sync.Mutex // held from setting a savepoint to releasing it, since savepoints nest

	// Begin is called right after a savepoint is set, with Mu held. The function that
	// it returns is called before the savepoint is released. Like a COMMIT, that
	// function fails if a deferred constraint is violated.
	Begin func(ctx context.Context) (commit func(context.Context) error, err error)
}

// Committing returns a function that calls body and then makes the checks of a
// COMMIT.
func (b *Base) Committing(body func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		commit, err := b.Begin(ctx)
		if err != nil {
			return err
		}
		if err := body(ctx); err != nil {
			return err
		}
		if err := commit(ctx); err != nil {
			return fmt.Errorf("tidingstest: a COMMIT would fail: %w", err)
		}
		return nil
	}
}

type baseKey struct{}

// WithBase returns a context in which savepoints in tx stand for new transactions on
// db.
func WithBase(ctx context.Context, db, tx any, begin func(context.Context) (commit func(context.Context) error, err error)) context.Context {
	return context.WithValue(ctx, baseKey{}, &Base{DB: db, Tx: tx, Outer: BaseFrom(ctx), Begin: begin})
}

// BaseFrom returns the innermost Base of ctx, or nil.
func BaseFrom(ctx context.Context) *Base {
	b, _ := ctx.Value(baseKey{}).(*Base)
	return b
}

// TxOf returns the innermost Base of ctx whose DB is db and whose Tx has type T, and that
// Tx. It returns nil if there is none.
func TxOf[T any](ctx context.Context, db any) (tx T, b *Base) {
	for b = BaseFrom(ctx); b != nil; b = b.Outer {
		if found, ok := b.Tx.(T); ok && b.DB == db {
			return found, b
		}
	}
	return tx, nil
}

// WithTx does what tidings.WithTx does, for a transaction that a test has begun on
// db; the caller then calls tidings.NewTxHook. Code inside that begins a transaction
// on db gets a savepoint. The returned function returns an error if the transaction
// can no longer commit. Package tidings sets WithTx.
var WithTx func(ctx context.Context, db, tx any) (context.Context, func() error)

// Drain waits until no handler of the bus is running and the queues of Async handlers
// are empty. bus is an *EventBus. Package tidings sets Drain.
var Drain func(ctx context.Context, bus any) error
