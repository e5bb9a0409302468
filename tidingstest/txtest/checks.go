package txtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/tidings-go/tidings"
)

// Code inside finds the transaction by the database, and code outside does not.
func checkTxFrom(r *rig) {
	db := r.subject.Transactor.DB
	r.must(r.transact(r.ctx, func(ctx context.Context) error {
		if in, ok := tidings.TxDatabase(ctx); !ok || in != db {
			return fmt.Errorf("TxDatabase returns %v, want Transactor.DB, %v", in, db)
		}
		if _, ok := tidings.TxFrom[any](ctx, db); !ok {
			return errors.New("TxFrom finds no transaction of Transactor.DB: the TxFunc must add it to its context with WithTx, for the same database")
		}
		return nil
	}))
	if _, ok := tidings.TxFrom[any](r.ctx, db); ok {
		r.Error("TxFrom finds a transaction outside of Transact")
	}
}

type contextKey struct{}

// The context of the body is that of Transact, and the transaction.
func checkContext(r *rig) {
	r.must(r.transact(context.WithValue(r.ctx, contextKey{}, "outer"), wantValue("outer")))
}

func wantValue(want string) func(context.Context) error {
	return func(ctx context.Context) error {
		if got := ctx.Value(contextKey{}); got != want {
			return fmt.Errorf("a value in the context of Transact is %v in its function, want %v: the TxFunc must pass on its own context", got, want)
		}
		return nil
	}
}

func checkCommit(r *rig) {
	r.must(r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1, 2); err != nil {
			return err
		}
		r.stored(r.subject)
		return r.noneYet()
	}))
	r.committed(1, 2)
	r.dropped()
	r.must(r.transact(r.ctx, func(ctx context.Context) error { return r.insert(ctx, 3) }))
	r.committed(1, 2, 3)
}

func checkError(r *rig) {
	r.fails(r.transact(r.ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 1) }), errOnPurpose)
	r.committed()
	r.dropped(1)
	r.goesOn()
}

// A TxFunc may let the panic pass, or return it as an error.
func checkPanic(r *rig) {
	var err error
	value := panics(func() {
		err = r.transact(r.ctx, func(ctx context.Context) error {
			if err := r.insert(ctx, 1); err != nil {
				return err
			}
			panic(errOnPurpose)
		})
	})
	if value != errOnPurpose && err == nil {
		r.Errorf("Transact panicked with %v and returned %v, want the panic of its function", value, err)
	}
	r.committed()
	r.dropped(1)
	r.goesOn()
}

// FailNow of a test and Goexit end the goroutine.
func checkGoexit(r *rig) {
	inGoroutine(func() {
		err := r.transact(r.ctx, func(ctx context.Context) error {
			if err := r.insert(ctx, 1); err != nil {
				return err
			}
			runtime.Goexit()
			return nil
		})
		r.problem("Transact returned %v, although its function has ended the goroutine", err)
	})
	r.committed()
	r.dropped(1)
	r.goesOn()
}

// If a failed statement makes the database refuse the COMMIT, that is an error, also if
// the error of the statement is dropped.
func checkStatementFails(r *rig) {
	var failure error
	err := r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		failure = r.subject.Fail(ctx)
		return failure
	})
	if failure == nil {
		r.Fatal("Subject.Fail returned nil")
	}
	r.fails(err, failure)
	r.committed()
	r.dropped(1)

	err = r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 2); err != nil {
			return err
		}
		_ = r.subject.Fail(ctx)
		return nil
	})
	want := ifNil(err, 2)
	r.committed(want...)
	r.goesOn(want...)
}

func checkCommitFails(r *rig) {
	r.optional(r.subject.FailCommit != nil, "FailCommit")
	err := r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		r.failCommit(ctx)
		return nil
	})
	if err == nil {
		r.Error("Transact returned nil, although the COMMIT has failed")
	}
	r.committed()
	r.dropped(1)
	r.goesOn()
}

func (r *rig) failCommit(ctx context.Context) {
	if err := r.subject.FailCommit(ctx); err != nil {
		r.problem("Subject.FailCommit: %w", err)
	}
}

func checkCancelledBefore(r *rig) {
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	r.fails(r.transact(ctx, func(ctx context.Context) error { return r.publish(ctx, 1) }), context.Canceled)
	r.committed()
	r.goesOn()
}

func checkCancelled(r *rig) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	r.fails(r.transact(ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-r.ctx.Done():
			r.problem("the context of Transact was cancelled, and that of its function was not: the TxFunc must pass on its own context")
		}
		return r.publish(ctx, 2)
	}), context.Canceled)
	r.committed()
	r.dropped(1)
	r.goesOn()
}

// A statement fails because its context has ended, whatever the driver says then.
func checkCancelledStatement(r *rig) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	err := r.transact(ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		cancel()
		return r.insert(ctx, 2)
	})
	if err != nil {
		r.fails(err, context.Canceled)
	}
	want := ifNil(err, 1, 2) // of a library that does not look at the context
	r.committed(want...)
	r.goesOn(want...)
}

// The function does not notice that its context has ended. The TxFunc may commit or fail.
func checkCancelledAtEnd(r *rig) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	err := r.transact(ctx, func(ctx context.Context) error {
		defer cancel()
		return r.insert(ctx, 1)
	})
	want := ifNil(err, 1)
	r.committed(want...)
	r.goesOn(want...)
}

// ifNil returns numbers, or none if err is not nil.
func ifNil(err error, numbers ...int) []int {
	if err != nil {
		return nil
	}
	return numbers
}

// What code does with the context of a transaction that has ended is refused.
func checkFinished(r *rig) {
	var committed, failed context.Context
	r.must(r.transact(r.ctx, func(ctx context.Context) error {
		committed = ctx
		return nil
	}))
	r.fails(r.transact(r.ctx, func(ctx context.Context) error {
		failed = ctx
		return errOnPurpose
	}), errOnPurpose)
	r.refused(committed, "committed transaction")
	r.refused(failed, "failed transaction")
	if !r.features.NoSavepoints {
		var inner context.Context
		r.must(r.transact(r.ctx, func(ctx context.Context) error {
			err := r.transact(ctx, func(ctx context.Context) error {
				inner = ctx
				return nil
			})
			if err == nil {
				r.refused(inner, "committed inner transaction")
			}
			return err
		}))
	}
	r.committed()
	r.goesOn()
}

// refused fails the subtest unless nothing can be done with the context of a finished
// transaction.
func (r *rig) refused(ctx context.Context, of string) {
	if ctx == nil {
		return // the transaction did not begin, which is a failure already
	}
	if err := r.publish(ctx, 1); !errors.Is(err, tidings.ErrTxDone) {
		r.problem("Publish with the context of a %s returned %w, want %v", of, orNil(err), tidings.ErrTxDone)
	}
	called := false
	err := r.transact(ctx, func(context.Context) error {
		called = true
		return nil
	})
	if called || !errors.Is(err, tidings.ErrTxDone) {
		r.problem("Transact with the context of a %s called its function (%v) and returned %w, want %v", of, called, orNil(err), tidings.ErrTxDone)
	}
}

// A TxFunc may call its body again by itself, but in a new transaction.
func checkFailsOnce(r *rig) {
	calls := 0
	err := r.transact(r.ctx, func(ctx context.Context) error {
		calls++
		if calls == 1 {
			return r.insertAndFail(ctx, calls)
		}
		return r.insert(ctx, calls)
	})
	if err != nil {
		r.fails(err, errOnPurpose)
		r.committed()
		return
	}
	r.committed(calls)
}

func checkRetry(r *rig) {
	attempts := 0
	r.must(tidings.Transact(r.ctx, r.retrying(3), func(ctx context.Context) error {
		attempts++
		if err := r.insert(ctx, 10*attempts); err != nil {
			return err
		}
		if !r.features.NoSavepoints {
			if err := r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 10*attempts+1) }); err != nil {
				return err
			}
		}
		if attempts < 3 {
			return errOnPurpose
		}
		return nil
	}))
	if r.features.NoSavepoints {
		r.committed(30)
		r.dropped(10, 20)
		return
	}
	r.committed(30, 31)
	r.dropped(10, 11, 20, 21)
}

func checkRetryGivesUp(r *rig) {
	attempts := 0
	r.fails(tidings.Transact(r.ctx, r.retrying(3), func(ctx context.Context) error {
		attempts++
		return r.insertAndFail(ctx, attempts)
	}), errOnPurpose)
	r.committed()
	r.dropped(1, 2, 3)
	r.goesOn()
}

func checkRetryCommit(r *rig) {
	r.optional(r.subject.FailCommit != nil, "FailCommit")
	attempts := 0
	r.must(tidings.Transact(r.ctx, r.retrying(2), func(ctx context.Context) error {
		attempts++
		if err := r.insert(ctx, attempts); err != nil {
			return err
		}
		if attempts == 1 {
			r.failCommit(ctx)
		}
		return nil
	}))
	r.committed(2)
	r.dropped(1)
}

// Transactions that share the bus and the pool are independent, and one may publish in
// several goroutines.
func checkConcurrent(r *rig) {
	const workers, rounds = 4, 5
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for round := range rounds {
				n := 100*worker + round
				err := r.transact(r.ctx, func(ctx context.Context) error {
					if round%2 == 1 {
						return r.insertAndFail(ctx, n)
					}
					return r.insert(ctx, n)
				})
				if round%2 == 1 && !errors.Is(err, errOnPurpose) || round%2 == 0 && err != nil {
					r.problem("transaction %d returned the error %w", n, orNil(err))
				}
			}
		})
	}
	wg.Wait()
	r.must(r.ctx.Err())
	var want, dropped []int
	for worker := range workers {
		for round := range rounds {
			if n := 100*worker + round; round%2 == 0 {
				want = append(want, n)
			} else {
				dropped = append(dropped, n)
			}
		}
	}
	stored, err := r.subject.Stored(r.ctx)
	r.must(err)
	for _, c := range []struct {
		what       string
		have, want []int
	}{
		{"stored rows", stored, want},
		{"events delivered after the commit", r.delivered, want},
		{"events delivered after a rollback", r.rolledBack, dropped},
	} {
		if have := slices.Sorted(slices.Values(c.have)); !slices.Equal(have, c.want) {
			r.Errorf("%s: %v, want %v", c.what, have, c.want)
		}
	}

	r.delivered = nil
	r.must(r.transact(r.ctx, func(ctx context.Context) error {
		errs := make([]error, workers)
		var wg sync.WaitGroup
		for worker := range errs {
			wg.Go(func() { errs[worker] = r.publish(ctx, worker) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}))
	if slices.Sort(r.delivered); !slices.Equal(r.delivered, []int{0, 1, 2, 3}) {
		r.Errorf("the events %v were delivered after the commit, want one from each of %d goroutines", r.delivered, workers)
	}
}
