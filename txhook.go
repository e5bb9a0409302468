package tidings

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A TxHook is the scope of a transaction whose begin and commit are written
// by hand; with [Transact] or [InTx] there is no need for it:
//
//	ctx, hook := tidings.Begin(ctx)
//	defer hook.Rollback(ctx)
//	tx, err := pool.Begin(ctx)
//	...
//	defer tx.Rollback(ctx)
//	ctx = tidings.WithTx(ctx, tx)
//	...                                        // publish with ctx
//	if err := hook.Prepare(ctx); err != nil {  // BeforeCommit handlers
//		return err
//	}
//	if err := tx.Commit(ctx); err != nil {
//		return err
//	}
//	return hook.Commit(ctx)                    // AfterCommit handlers
//
// Its methods are safe to call concurrently, and so is publishing.
type TxHook struct {
	queue  *txQueue
	parent *TxHook // nil for the outermost scope
	state  txEnd   // guarded by queue.mu; does not change once the outermost scope has ended
}

type txEnd int

const (
	txOpen txEnd = iota
	txCommitted
	txRolledBack
)

// Begin opens a scope: what is published with the returned context waits
// for [TxHook.Commit]. Inside another scope it becomes part of that one.
// With the context of a finished transaction everything that is published
// in the new scope fails with [ErrTxDone].
func Begin(ctx context.Context) (context.Context, *TxHook) {
	parent, err := nodeFrom(ctx).openHook()
	inside := newScope(ctx, parent)
	if err != nil {
		inside.tx.hook.rollback()
	}
	return inside, inside.tx.hook
}

// newScope returns a node on top of ctx in which events go to a new scope
// in parent, which is outermost if that is nil.
func newScope(ctx context.Context, parent *TxHook) *node {
	if parent == nil {
		s := &struct {
			txQueue
			step
		}{}
		return s.enter(ctx, txState{hook: s.init()})
	}
	s := &struct {
		TxHook
		step
	}{TxHook: TxHook{queue: parent.queue, parent: parent}}
	return s.enter(ctx, txState{hook: &s.TxHook})
}

// reopen lets the outermost scope take events again, of another attempt.
func (h *TxHook) reopen() {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	if h.parent == nil {
		h.queue.sealed, h.queue.failed = false, nil
	}
}

// openLocked reports whether h takes events.
func (h *TxHook) openLocked() bool {
	for ; h != nil; h = h.parent {
		if h.state != txOpen || h.parent == nil && h.queue.sealed {
			return false
		}
	}
	return true
}

// ended reports whether h has committed or rolled back itself.
func (h *TxHook) ended() bool {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	return h.state != txOpen
}

// check returns ErrTxDone if h takes no events.
func (h *TxHook) check() error {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	if !h.openLocked() {
		return ErrTxDone
	}
	return nil
}

// dropped reports whether h or a scope around it has rolled back. The
// caller holds queue.mu, or has ended the outermost scope.
func (h *TxHook) dropped() bool {
	for ; h != nil; h = h.parent {
		if h.state == txRolledBack {
			return true
		}
	}
	return false
}

// end moves h out of the open state, once.
func (h *TxHook) end(as txEnd) error {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	for outer := h; outer != nil; outer = outer.parent {
		if outer.state != txOpen {
			return ErrTxDone
		}
	}
	h.state = as
	return nil
}

func (h *TxHook) commit() error { return h.end(txCommitted) }

func (h *TxHook) rollback() bool { return h.end(txRolledBack) == nil }

// Prepare runs the BeforeCommit handlers and hands events to the transports
// of that phase. Call it inside the transaction, with its context, before
// the database commits; if it fails, roll back. Once it has succeeded
// nothing more can be published in the transaction. In a nested scope there
// is nothing to prepare before the outermost commit.
func (h *TxHook) Prepare(ctx context.Context) error {
	if h.parent != nil {
		return h.check()
	}
	if h.ended() {
		return ErrTxDone
	}
	n := nodeFrom(ctx)
	if n.hook() != h {
		n = enter(ctx, txState{hook: h})
	}
	return h.queue.prepare(n, n.tx)
}

// Commit delivers what was published in the transaction: call it after the
// database has committed. The handlers get the values of ctx, but neither
// its cancellation nor its transaction. Commit returns what failed, joined;
// [ErrTxDone] if the scope has ended already; and an error, after delivery,
// if BeforeCommit handlers were missed because Prepare was not called or
// failed. A nested scope hands its events to the outer one.
func (h *TxHook) Commit(ctx context.Context) error {
	if err := h.commit(); err != nil || h.parent != nil {
		return err
	}
	return h.queue.finishJoined(outside(ctx), h.queue.missed())
}

// Rollback drops what was published in the scope: call it when the database
// has rolled back. AfterRollback handlers run once the outermost scope has
// ended; what fails goes to the bus's error handler. It does nothing if the
// scope has ended, so that it can be deferred.
func (h *TxHook) Rollback(ctx context.Context) {
	if h.rollback() && h.parent == nil {
		h.queue.finish(outside(ctx), report)
	}
}

// openHook returns the scope that a new one is nested in; nil if none.
func (n *node) openHook() (*TxHook, error) {
	hook := n.enclosingHook()
	if hook == nil {
		return nil, nil
	}
	if err := hook.check(); err != nil {
		return nil, err
	}
	if hook.queue.implicit {
		return nil, nil // there is no database transaction to be part of
	}
	return hook, nil
}

// enclosingHook returns the innermost scope, entered or pending.
func (n *node) enclosingHook() *TxHook {
	if n == nil {
		return nil
	}
	if pending := n.tx.pendingHook(); pending != nil {
		return pending
	}
	return n.hook()
}

// pendingHook returns the innermost scope if no body has entered it yet.
func (s *txState) pendingHook() *TxHook {
	for ; s != nil && (s.pending != nil || s.value != nil); s = s.next {
		if s.pending != nil {
			return s.pending
		}
	}
	return nil
}

// scopeWithin returns the innermost scope if it lies within h, else h.
func (n *node) scopeWithin(h *TxHook) *TxHook {
	for inner := n.hook(); inner != nil; inner = inner.parent {
		if inner == h {
			return n.hook()
		}
	}
	return h
}

// A txState is one step into transactions: a value that WithTx added, a
// scope that a TxFunc is about to make, or one that was entered.
type txState struct {
	value     any // for TxFrom; the next three where InTx made it
	db        *sql.DB
	isolation sql.IsolationLevel
	fate      *txFate
	pending   *TxHook // for a TxFunc that uses InTx or Transact in turn
	hook      *TxHook // the innermost scope that was entered so far: it takes events
	next      *txState
}

// A step is the memory for a txState and the node that it is entered with,
// to be allocated together with what belongs to it.
type step struct {
	node  node
	place place
	state txState
}

// enter returns a node on top of ctx, one step further into transactions.
func enter(ctx context.Context, state txState) *node { return new(step).enter(ctx, state) }

func (s *step) enter(ctx context.Context, state txState) *node {
	s.node = node{ctx, &s.place}
	s.place = place{up: nodeFrom(ctx), tx: &s.state}
	if outer := s.place.up.transactions(); outer != nil {
		state.next = outer
		if state.hook == nil {
			state.hook = outer.hook
		}
	}
	s.state = state
	return &s.node
}

// WithTx returns a context in which [TxFrom] finds tx, which is ctx itself
// if tx is nil. It is for the body of a [TxFunc], and for code that calls
// [Begin].
func WithTx(ctx context.Context, tx any) context.Context {
	if tx == nil {
		return ctx
	}
	return enter(ctx, txState{value: tx})
}

// TxFrom returns the innermost transaction of type T that ctx is in: for
// handlers in the phases InTransaction and BeforeCommit, and wherever else
// code runs inside of one.
func TxFrom[T any](ctx context.Context) (T, bool) {
	if n := nodeFrom(ctx); n != nil {
		for s := n.tx; s != nil; s = s.next {
			if tx, ok := s.value.(T); ok {
				return tx, true
			}
		}
	}
	var none T
	return none, false
}

// WithinTx reports whether ctx is in a transaction, so that what is published
// with it waits for the commit: inside [InTx] and [Transact], and between
// [Begin] and the end of its scope. Whether [TxFrom] finds the transaction
// itself is up to the TxFunc; a transport that would write beside one that it
// does not find asks here first.
func WithinTx(ctx context.Context) bool {
	hook := nodeFrom(ctx).hook()
	return hook != nil && !hook.queue.implicit
}

// OnCommit calls fn once the transaction of ctx has committed, in line with
// the events published there, and now where there is no transaction. fn's
// context is that of AfterCommit handlers. OnCommit returns [ErrTxDone] for
// a finished transaction, [ErrMaxDepth] for callbacks that nest like
// handlers but deeper than [Default] allows, and the error of fn if it was
// called now; later failures go to the error handler of Default.
func OnCommit(ctx context.Context, fn func(context.Context) error) error {
	if fn == nil {
		return errors.New("tidings: OnCommit with a nil function")
	}
	n := nodeFrom(ctx)
	hook := n.hook()
	if hook == nil {
		return fn(ctx)
	}
	if limit := Default().maxDepth; n.depth() >= limit {
		return depthError(n, onCommit.event, limit)
	}
	return hook.queue.add(&callback{queued: queued{scope: hook, from: n}, fn: fn})
}

// onCommit stands for callbacks in the chain of what led to what.
var onCommit = &topicInfo{event: &eventType{name: "OnCommit"}}

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
	n := newNode(ctx, place{up: c.from, topic: onCommit})
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
