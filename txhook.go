package tidings

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidings-go/tidings/internal/scope"
	"github.com/tidings-go/tidings/internal/txend"
)

// A TxHook tells the bus about a transaction that your own code begins and commits.
// With [Transact] or [InTx] you do not need it:
//
//	ctx, hook := tidings.NewTxHook(ctx, pool)
//	defer hook.Rollback(ctx)
//	tx, err := pool.Begin(ctx)
//	...
//	defer tx.Rollback(ctx)
//	ctx = tidings.WithTx(ctx, pool, tx)
//	...                                        // publish with ctx
//	if err := hook.Prepare(ctx); err != nil {  // BeforeCommit handlers
//		return err
//	}
//	if err := tx.Commit(ctx); err != nil {
//		return err
//	}
//	return hook.Commit(ctx)                    // AfterCommit handlers
//
// Its methods are safe to call concurrently, and so is publishing in the transaction.
type TxHook struct{ scope *txScope }

// NewTxHook opens the scope of a transaction of db, which stands for the database as in
// [WithTx]: events that are published with the returned context wait for [TxHook.Commit].
// Inside another scope of the same database, the new scope becomes part of it, as a
// savepoint: until it ends, events that are published with the outer context are in it
// too. If ctx belongs to a finished transaction, Publish with the returned context fails
// with [ErrTxDone]. NewTxHook panics if db is nil or cannot be compared.
func NewTxHook(ctx context.Context, db any) (context.Context, *TxHook) {
	mustBeDatabase(db, "NewTxHook")
	parent, err := nodeFrom(ctx).scopeOn(db)
	inside := newScope(ctx, db, parent)
	if err != nil {
		inside.tx.scope.Rollback()
	}
	return inside, &TxHook{inside.tx.scope}
}

// Prepare runs the BeforeCommit handlers, and sends events through the transports of
// that phase. Call it inside the transaction, with the transaction's context, before
// the database commits. If Prepare returns an error, roll back. Once it has
// succeeded, no more events can be published in the transaction. Prepare returns
// [ErrTxDone] if the scope has ended. In a nested scope it does nothing else, since
// the handlers run before the outermost commit.
func (h *TxHook) Prepare(ctx context.Context) error {
	if !h.scope.Outermost() {
		return check(h.scope)
	}
	if h.scope.Ended() {
		return ErrTxDone
	}
	n := nodeFrom(ctx)
	if n.scope() != h.scope {
		n = enter(ctx, txState{own: h.scope})
	}
	return h.prepare(n)
}

// Commit delivers the events of the transaction to the AfterCommit handlers. Call it
// after the database has committed. The context of the handlers has the values of
// ctx, but neither its cancellation nor its transaction. In a nested scope, Commit
// passes the events to the outer scope.
//
// Commit returns the failures of the handlers, joined with [errors.Join]. It returns
// [ErrTxDone] if the scope has ended already. If BeforeCommit handlers did not run,
// because Prepare was not called or has failed, Commit delivers the events and then
// returns an error.
func (h *TxHook) Commit(ctx context.Context) error {
	if !h.scope.Commit() {
		return ErrTxDone
	}
	if !h.scope.Outermost() {
		return nil
	}
	return h.finishJoined(outside(ctx), h.missed())
}

// Rollback drops the events of the scope. Call it when the database has rolled back.
// AfterRollback handlers run once the outermost scope has ended; the bus's error
// handler gets their failures. Rollback does nothing if the scope has ended already,
// so it can be deferred.
func (h *TxHook) Rollback(ctx context.Context) {
	if h.scope.Rollback() && h.scope.Outermost() {
		h.finish(outside(ctx), report)
	}
}

// check returns ErrTxDone if s accepts no more events.
func check(s *txScope) error {
	if !s.Open() {
		return ErrTxDone
	}
	return nil
}

// add queues it in s. entry is the memory for its place in the queue.
func add(s *txScope, it item, entry *scope.Entry[item]) error {
	entry.Value = it
	if !s.Add(entry) {
		return ErrTxDone
	}
	return nil
}

// prepare runs the BeforeCommit handlers for all queued events, including those that
// these handlers publish, and then seals the queue. n is inside the transaction. A
// failure is final.
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

// missed returns an error if the transaction has committed although BeforeCommit
// handlers did not run, or failed.
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

// finish delivers the events once the outermost transaction has ended: to AfterCommit
// handlers if they were committed, to AfterRollback handlers otherwise, in the order
// of publishing. It sends through transports first, so that a handler that crashes
// the process does not take their events with it. ctx is outside the transaction.
// fail gets the failures of each event.
func (h *TxHook) finish(ctx context.Context, fail func([]failure)) {
	first := h.scope.Queue().End()
	r := remainder{ctx: ctx, undispatched: first, undelivered: first}
	r.work(fail)
}

// A remainder is the work that finish has still to do.
type remainder struct {
	ctx          context.Context
	undispatched *scope.Entry[item]
	out          outbox
	undelivered  *scope.Entry[item]
}

// work does the remaining work. If a handler ends the goroutine, work continues in
// the deferred call, where failures can only be reported.
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

// finishJoined is finish for a caller that returns the failures, after err.
func (h *TxHook) finishJoined(ctx context.Context, err error) error {
	var failures []failure
	returned := false
	defer func() {
		if !returned { // finishJoined will not return them
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
	txend.Attach = func(ctx context.Context, db any, attach func() any) any {
		if s := nodeFrom(ctx).transactions().scopeOf(db); s != nil {
			return s.Queue().Attached(attach)
		}
		return nil
	}
}
