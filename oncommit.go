package tidings

import (
	"context"
	"errors"
	"fmt"
)

// OnCommit calls fn once the transaction of ctx has committed, or immediately if ctx
// is in no transaction. fn takes its turn among the events of the transaction, in the
// order of publishing, and gets the same context as AfterCommit handlers.
//
// Without a transaction, OnCommit returns fn's error. Later failures go to the error
// handler of bus, or [TxHook.Commit] returns them. OnCommit returns [ErrTxDone] if
// the transaction has finished, and [ErrMaxDepth] if callbacks nest deeper than bus
// allows for handlers. It works even if bus is closed.
//
// OnCommit is safe to call concurrently and inside a handler.
func OnCommit(ctx context.Context, bus *EventBus, fn func(context.Context) error) error {
	switch {
	case bus == nil:
		return errors.New("tidings: OnCommit on a nil *EventBus")
	case bus.topics.Load() == nil:
		return errZeroBus("OnCommit")
	case ctx == nil || fn == nil:
		return errors.New("tidings: OnCommit with a nil context or function")
	}
	n := nodeFrom(ctx)
	s := n.scope()
	if s == nil {
		return fn(ctx)
	}
	if n.depth() >= bus.maxDepth {
		return depthError(n, onCommit.event, bus.maxDepth)
	}
	c := &callback{queued{from: n}, bus, fn}
	return add(s, c, &c.entry)
}

// onCommit stands for callbacks in the chain that depthError prints.
var onCommit = &topic{event: &eventType{name: "OnCommit"}}

// A callback is the item that OnCommit queues.
type callback struct {
	queued
	reports *EventBus
	fn      func(context.Context) error
}

func (c *callback) bus() *EventBus                               { return c.reports }
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
