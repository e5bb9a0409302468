package tidings

import (
	"context"
	"errors"
	"fmt"
)

// OnCommit calls fn once the transaction of ctx has committed, in line with
// the events published there, and now where there is no transaction. fn
// gets the context that AfterCommit handlers get. OnCommit returns the error of fn
// if it was called now; later failures go to the error handler of bus. It returns
// [ErrTxDone] for a finished transaction, and [ErrMaxDepth] for callbacks that nest
// like handlers, but deeper than bus allows. A closed bus does not matter.
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

// onCommit stands for callbacks in the chain of what led to what.
var onCommit = &topic{event: &eventType{name: "OnCommit"}}

// A callback is an item of OnCommit.
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
