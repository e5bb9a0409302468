package tidings

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings/internal/scope"
	"github.com/tidings-go/tidings/internal/txend"
)

// A TxHook is the scope of a transaction whose begin and commit are written
// by hand; with [Transact] or [InTx] there is no need for it:
//
//	ctx, hook := tidings.NewTxHook(ctx)
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
type TxHook struct{ scope *txScope }

// NewTxHook opens a scope: what is published with the returned context waits
// for [TxHook.Commit]. Inside another scope it becomes part of that one.
// With the context of a finished transaction everything that is published
// in the new scope fails with [ErrTxDone].
func NewTxHook(ctx context.Context) (context.Context, *TxHook) {
	parent, err := nodeFrom(ctx).openScope()
	inside := newScope(ctx, parent)
	if err != nil {
		inside.tx.scope.Rollback()
	}
	return inside, &TxHook{inside.tx.scope}
}

// Prepare runs the BeforeCommit handlers and hands events to the transports
// of that phase. Call it inside the transaction, with its context, before
// the database commits; if it fails, roll back. Once it has succeeded
// nothing more can be published in the transaction. In a nested scope there
// is nothing to prepare before the outermost commit.
func (h *TxHook) Prepare(ctx context.Context) error {
	if !h.scope.Outermost() {
		return check(h.scope)
	}
	if h.scope.Ended() {
		return ErrTxDone
	}
	n := nodeFrom(ctx)
	if n.scope() != h.scope {
		n = enter(ctx, txState{scope: h.scope})
	}
	return h.prepare(n)
}

// Commit delivers what was published in the transaction: call it after the
// database has committed. The handlers get the values of ctx, but neither
// its cancellation nor its transaction. Commit returns what failed, joined;
// [ErrTxDone] if the scope has ended already; and an error, after delivery,
// if BeforeCommit handlers were missed because Prepare was not called or
// failed. A nested scope hands its events to the outer one.
func (h *TxHook) Commit(ctx context.Context) error {
	if !h.scope.Commit() {
		return ErrTxDone
	}
	if !h.scope.Outermost() {
		return nil
	}
	return h.finishJoined(outside(ctx), h.missed())
}

// Rollback drops what was published in the scope: call it when the database
// has rolled back. AfterRollback handlers run once the outermost scope has
// ended; what fails goes to the bus's error handler. It does nothing if the
// scope has ended, so that it can be deferred.
func (h *TxHook) Rollback(ctx context.Context) {
	if h.scope.Rollback() && h.scope.Outermost() {
		h.finish(outside(ctx), report)
	}
}

// check returns ErrTxDone if s takes no events.
func check(s *txScope) error {
	if !s.Open() {
		return ErrTxDone
	}
	return nil
}

// add queues it, which has that entry, in s.
func add(s *txScope, it item, entry *scope.Entry[item]) error {
	entry.Value = it
	if !s.Add(entry) {
		return ErrTxDone
	}
	return nil
}

// prepare runs BeforeCommit for all that is queued, also for what its handlers
// publish, and then seals the queue. n is inside the transaction. A failure is final.
func (h *TxHook) prepare(n *node) error {
	q := h.scope.Queue()
	if done, err := q.Prepared(); done {
		return err
	}
	err := prepareAll(n, q)
	q.Fail(err)
	return err
}

func prepareAll(n *node, q *txQueue) error {
	for !q.Seal() {
		var ready []item
		for e := q.Unprepared(); e != nil; e = q.Unprepared() {
			it := e.Value
			if err := joined(it.run(n, BeforeCommit, n.tx)); err != nil {
				return err
			}
			if it.awaits(BeforeCommit) {
				ready = append(ready, it)
			}
		}
		var out outbox
		var err error
		for _, it := range ready {
			if out, err = it.dispatch(BeforeCommit, out); err != nil {
				return err
			}
		}
		if err := out.send(n); err != nil {
			return err
		}
	}
	return nil
}

// missed returns an error if the transaction has committed although
// BeforeCommit did not succeed for all that was published.
func (h *TxHook) missed() error {
	q := h.scope.Queue()
	if _, err := q.Prepared(); err != nil {
		return &wrapped{"TxHook.Commit although Prepare failed", err}
	}
	for e := q.Unprepared(); e != nil; e = q.Unprepared() {
		if it := e.Value; it.awaits(BeforeCommit) {
			return fmt.Errorf("tidings: TxHook.Commit without Prepare: BeforeCommit handlers of %s did not run", it.name())
		}
	}
	return nil
}

// finish delivers, once the outermost transaction has ended: AfterCommit
// for what was committed, AfterRollback for the rest, in order of
// publishing. Transports come first, so that a handler that takes the
// process down does not take their events along. ctx is outside of the
// transaction. Each event's failures go to fail.
func (h *TxHook) finish(ctx context.Context, fail func([]failure)) {
	first := h.scope.Queue().End()
	r := remainder{ctx: ctx, undispatched: first, undelivered: first}
	r.work(fail)
}

// A remainder is what finish has still to do.
type remainder struct {
	ctx          context.Context
	undispatched *scope.Entry[item]
	out          outbox
	undelivered  *scope.Entry[item]
}

// work does it. If a handler ends the goroutine, it goes on in the
// deferred call, where failures can only be reported.
func (r *remainder) work(fail func([]failure)) {
	finished := false
	defer func() {
		if !finished {
			r.work(report)
		}
	}()
	for r.undispatched != nil {
		e := r.undispatched
		r.undispatched = e.Next()
		if e.Dropped() {
			continue
		}
		var err error
		if r.out, err = e.Value.dispatch(AfterCommit, r.out); err != nil {
			fail([]failure{{r.ctx, e.Value.bus(), err}})
		}
	}
	for len(r.out) > 0 {
		b := r.out[0]
		r.out = r.out[1:]
		fail(b.handAfter(r.ctx))
	}
	for r.undelivered != nil {
		e := r.undelivered
		r.undelivered = e.Next()
		phase := AfterCommit
		if e.Dropped() {
			phase = AfterRollback
		}
		fail(e.Value.run(r.ctx, phase, nil))
	}
	finished = true
}

// finishJoined is finish for a caller who wants the failures, after err.
func (h *TxHook) finishJoined(ctx context.Context, err error) error {
	var failures []failure
	returned := false
	defer func() {
		if !returned { // the caller will not get them
			report(failures)
		}
	}()
	h.finish(ctx, func(f []failure) { failures = append(failures, f...) })
	returned = true
	if len(failures) == 0 {
		return err
	}
	if err == nil {
		return joined(failures)
	}
	return errors.Join(append(parts(err), parts(joined(failures))...)...)
}

func init() {
	txend.Notify = func(ctx context.Context, key any, begin func() (end func())) {
		if s := nodeFrom(ctx).scope(); s != nil {
			s.Notify(key, begin)
		}
	}
}
