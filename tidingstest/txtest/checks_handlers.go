package txtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

// copies is added to the number of an event by handlers that insert a row for it.
const copies = 100

// copying subscribes a handler that inserts a row for each event, in its transaction.
func (r *rig) copying(phase tidings.Phase, then error) {
	tidings.Subscribe(r.bus, func(ctx context.Context, e inserted) error {
		if err := r.subject.Insert(ctx, e.N+copies); err != nil {
			return fmt.Errorf("insert in a handler: %w", err)
		}
		return then
	}, phase)
}

// Handlers inside the transaction write in it.
func checkInTransaction(r *rig) {
	r.copying(tidings.InTransaction, nil)
	r.must(r.transact(r.ctx, func(ctx context.Context) error { return r.insert(ctx, 1, 2) }))
	r.stored(r.subject, 1, 1+copies, 2, 2+copies)
	r.fails(r.transact(r.ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 3) }), errOnPurpose)
	r.stored(r.subject, 1, 1+copies, 2, 2+copies)
}

func checkInTransactionFails(r *rig) {
	r.copying(tidings.InTransaction, errOnPurpose)
	r.fails(r.transact(r.ctx, func(ctx context.Context) error { return r.insert(ctx, 1) }), errOnPurpose)
	r.committed()
	r.dropped(1)
}

func checkBeforeCommit(r *rig) {
	r.copying(tidings.BeforeCommit, nil)
	r.must(r.transact(r.ctx, func(ctx context.Context) error { return r.insert(ctx, 1, 2) }))
	r.stored(r.subject, 1, 2, 1+copies, 2+copies)
}

func checkBeforeCommitFails(r *rig) {
	r.copying(tidings.BeforeCommit, errOnPurpose)
	r.fails(r.transact(r.ctx, func(ctx context.Context) error { return r.insert(ctx, 1) }), errOnPurpose)
	r.committed()
	r.dropped(1)
}

// Handlers after the commit see its rows, and can begin a transaction on a pool of one
// connection.
func checkAfterCommit(r *rig) { r.checkAfter(tidings.AfterCommit, nil, []int{1}) }

// So can handlers after a rollback.
func checkAfterRollback(r *rig) { r.checkAfter(tidings.AfterRollback, errOnPurpose, nil) }

func (r *rig) checkAfter(phase tidings.Phase, end error, want []int) {
	tidings.Subscribe(r.bus, func(ctx context.Context, e inserted) error {
		if e.N != 1 {
			return nil
		}
		if db, in := tidings.TxDatabase(ctx); in {
			return fmt.Errorf("the handler is in a transaction of %v", db)
		}
		if _, ok := tidings.TxFrom[any](ctx, r.subject.Transactor.DB); ok {
			return errors.New("TxFrom finds a transaction in the handler")
		}
		ctx, cancel := r.limited(ctx)
		defer cancel()
		if stored, err := r.subject.Stored(ctx); err != nil || !slices.Equal(stored, want) {
			return fmt.Errorf("the handler sees the rows %v (error: %w), want %v", stored, orNil(err), want)
		}
		return r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 2) })
	}, phase)
	r.fails(r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		return end
	}), end)
	r.committed(append(want, 2)...)
}

// The caller is cancelled between the commit and the delivery, which takes place.
func checkHangsUp(r *rig) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	tidings.Subscribe(r.bus, func(ctx context.Context, e inserted) error {
		if e.N != 1 {
			return nil
		}
		ctx, stop := r.limited(ctx)
		defer stop()
		return r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 2) })
	})
	r.must(r.transact(ctx, func(ctx context.Context) error {
		err := tidings.OnCommit(ctx, r.bus, func(context.Context) error {
			cancel()
			return nil
		})
		return errors.Join(err, r.insert(ctx, 1))
	}))
	r.committed(1, 2)
}

// A handler inside the transaction writes in the savepoint that its event belongs to.
func checkHandlersInside(r *rig) {
	r.copying(tidings.InTransaction, nil)
	r.must(r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		err := r.transact(ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 2) })
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		return r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 3) })
	}))
	r.stored(r.subject, 1, 1+copies, 3, 3+copies)
}

// A handler inside the transaction may call code that uses Transact, and drop its error.
func checkHandlersNest(r *rig) {
	nest := func(offset int) func(context.Context, inserted) error {
		return func(ctx context.Context, e inserted) error {
			var want error
			if e.N == 2 {
				want = errOnPurpose
			}
			return inside(r.transact(ctx, func(ctx context.Context) error {
				if err := r.subject.Insert(ctx, e.N+offset); err != nil {
					return err
				}
				return want
			}), want)
		}
	}
	tidings.Subscribe(r.bus, nest(copies), tidings.InTransaction)
	tidings.Subscribe(r.bus, nest(2*copies), tidings.BeforeCommit)
	r.must(r.transact(r.ctx, func(ctx context.Context) error { return r.insert(ctx, 1, 2, 3) }))
	r.stored(r.subject, 1, 1+copies, 2, 3, 3+copies, 1+2*copies, 3+2*copies)
}

// Code that begins transactions runs inside the transaction of a test, which is not
// committed.
func checkSandbox(r *rig) {
	r.optional(r.subject.Sandbox != nil, "Sandbox")
	tidings.Subscribe(r.bus, func(ctx context.Context, e inserted) error {
		if e.N != 1 {
			return nil
		}
		ctx, cancel := r.limited(ctx)
		defer cancel()
		return r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 2) })
	})
	tx := r.subject.Sandbox(r.T)
	r.must(tidingstest.Commit(r.ctx, r.subject.Transactor.DB, tx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		err := r.transact(ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 3) })
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		return r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 4) })
	}))
	r.stored(r.subject)
	if !slices.Equal(r.delivered, []int{1, 2, 4}) {
		r.Errorf("the events %v were delivered, want %v", r.delivered, []int{1, 2, 4})
	}
	r.dropped(3)
}
