package tidings

import (
	"context"
	"errors"
	"fmt"
)

// OnCommit calls fn once the transaction of ctx has committed, in line with
// the events published there, and now where there is no transaction. fn
// gets the context that AfterCommit handlers get. OnCommit returns [ErrTxDone] for
// a finished transaction, [ErrMaxDepth] for callbacks that nest like
// handlers but deeper than [Default] allows, and the error of fn if it was
// called now; later failures go to the error handler of Default.
func OnCommit(ctx context.Context, fn func(context.Context) error) error {
	if fn == nil {
		return errors.New("tidings: OnCommit with a nil function")
	}
	n := nodeFrom(ctx)
	s := n.scope()
	if s == nil {
		return fn(ctx)
	}
	if limit := Default().maxDepth; n.depth() >= limit {
		return depthError(n, onCommit.event, limit)
	}
	c := &callback{queued: queued{from: n}, fn: fn}
	return add(s, c, &c.entry)
}

// onCommit stands for callbacks in the chain of what led to what.
var onCommit = &topic{event: &eventType{name: "OnCommit"}}

// A callback is an item of OnCommit.
type callback struct {
	queued
	fn func(context.Context) error
}

func (c *callback) bus() *EventBus                               { return Default() }
func (c *callback) name() string                                 { return onCommit.event.name }
func (c *callback) awaits(phase Phase) bool                      { return phase == AfterCommit }
func (c *callback) dispatch(_ Phase, out outbox) (outbox, error) { return out, nil }

func (c *callback) run(ctx context.Context, phase Phase, _ *txState) []failure {
	if !c.awaits(phase) {
		return nil
	}
	n := &node{Context: ctx, up: c.from, topic: onCommit}
	failed := func(err error) []failure { return []failure{{n, c.bus(), fmt.Errorf("tidings: OnCommit: %w", err)}} }
	returned := false
	defer func() {
		if !returned {
			report(failed(errGoexit))
		}
	}()
	err := protect(func() error { return c.fn(n) })
	returned = true
	if err != nil {
		return failed(err)
	}
	return nil
}
