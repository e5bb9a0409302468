// Package testhook is how package tidingstest reaches into package tidings.
package testhook

import (
	"context"
	"sync"
)

// A Base is a transaction that a test has begun and will roll back: code
// that begins one on DB gets a savepoint in Tx, and counts as committed
// when that is released.
type Base struct {
	DB, Tx any
	Outer  *Base
	Mu     sync.Mutex // held from setting a savepoint to releasing it: they nest
}

type baseKey struct{}

// WithBase returns a context in which tx stands for new transactions on db.
func WithBase(ctx context.Context, db, tx any) context.Context {
	return context.WithValue(ctx, baseKey{}, &Base{DB: db, Tx: tx, Outer: BaseFrom(ctx)})
}

// BaseFrom returns the innermost Base of ctx, or nil.
func BaseFrom(ctx context.Context) *Base {
	b, _ := ctx.Value(baseKey{}).(*Base)
	return b
}

// WithTx is tidings.WithTx for a transaction that a test has begun on db;
// tidings.Begin follows. Code inside that begins one on db gets a savepoint.
// The function says why the transaction can not commit any more, if so.
// Package tidings sets it.
var WithTx func(ctx context.Context, db, tx any) (context.Context, func() error)

// Drain waits until no handler of the bus runs and no asynchronous queue
// holds an event. Package tidings sets it; bus is its *EventBus.
var Drain func(ctx context.Context, bus any) error
