// Package testhook is how package tidingstest reaches into package tidings.
package testhook

import (
	"context"
	"fmt"
	"sync"
)

// A Base is a transaction that a test has begun and will roll back: code
// that begins one on DB gets a savepoint in Tx, and counts as committed
// when that is released.
type Base struct {
	DB, Tx any
	Outer  *Base
	Mu     sync.Mutex // held from setting a savepoint to releasing it: they nest

	// Begin is called right after a savepoint is set, under Mu, and what it
	// returns before that is released: as a COMMIT, it fails where a deferred
	// constraint is broken.
	Begin func(ctx context.Context) (commit func(context.Context) error, err error)
}

// Committing returns body with what a COMMIT checks at its end.
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

// WithBase returns a context in which tx stands for new transactions on db.
func WithBase(ctx context.Context, db, tx any, begin func(context.Context) (commit func(context.Context) error, err error)) context.Context {
	return context.WithValue(ctx, baseKey{}, &Base{DB: db, Tx: tx, Outer: BaseFrom(ctx), Begin: begin})
}

// BaseFrom returns the innermost Base of ctx, or nil.
func BaseFrom(ctx context.Context) *Base {
	b, _ := ctx.Value(baseKey{}).(*Base)
	return b
}

// WithTx is tidings.WithTx for a transaction that a test has begun on db;
// tidings.NewTxHook follows. Code inside that begins one on db gets a savepoint.
// The function says why the transaction can not commit any more, if so.
// Package tidings sets it.
var WithTx func(ctx context.Context, db, tx any) (context.Context, func() error)

// Drain waits until no handler of the bus runs and no asynchronous queue
// holds an event. Package tidings sets it; bus is its *EventBus.
var Drain func(ctx context.Context, bus any) error
