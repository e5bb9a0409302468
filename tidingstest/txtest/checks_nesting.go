package txtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Without savepoints an inner transaction is refused, and the outer one goes on.
func checkNestingRefused(r *rig) {
	r.must(r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		called := false
		err := r.transact(ctx, func(context.Context) error {
			called = true
			return nil
		})
		if err == nil || called {
			return fmt.Errorf("a Transact inside another called its function (%v) and returned %w", called, orNil(err))
		}
		return r.insert(ctx, 2)
	}))
	r.committed(1, 2)
}

func checkInnerContext(r *rig) {
	r.must(r.transact(context.WithValue(r.ctx, contextKey{}, "outer"), func(ctx context.Context) error {
		return r.transact(context.WithValue(ctx, contextKey{}, "inner"), wantValue("inner"))
	}))
}

// around inserts 1, calls inner, which inserts other numbers, and inserts 9, in one
// transaction, which commits.
func (r *rig) around(inner func(ctx context.Context) error) {
	r.Helper()
	r.must(r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		if err := inner(ctx); err != nil {
			return err
		}
		if err := r.noneYet(); err != nil {
			return err
		}
		return r.insert(ctx, 9)
	}))
}

func checkInnerCommits(r *rig) {
	r.around(func(ctx context.Context) error {
		return r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 2) })
	})
	r.committed(1, 2, 9)
	r.dropped()
}

func checkInnerFails(r *rig) {
	r.around(func(ctx context.Context) error {
		return inside(r.transact(ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 2, 3) }), errOnPurpose)
	})
	r.committed(1, 9)
	r.dropped(2, 3)
}

func checkInnerPanics(r *rig) { r.innerPanics(r.transact) }

// innerPanics checks a scope whose function panics.
func (r *rig) innerPanics(scope func(context.Context, func(context.Context) error) error) {
	r.around(func(ctx context.Context) error {
		var err error
		value := panics(func() {
			err = scope(ctx, func(ctx context.Context) error {
				if err := r.insert(ctx, 2); err != nil {
					return err
				}
				panic(errOnPurpose)
			})
		})
		if value != errOnPurpose && err == nil {
			return fmt.Errorf("the inner scope panicked with %v and returned nil, want the panic of its function", value)
		}
		return nil
	})
	r.committed(1, 9)
	r.dropped(2)
}

func checkInnerGoexit(r *rig) {
	r.around(func(ctx context.Context) error {
		inGoroutine(func() {
			err := r.transact(ctx, func(ctx context.Context) error {
				if err := r.insert(ctx, 2); err != nil {
					return err
				}
				runtime.Goexit()
				return nil
			})
			r.problem("the inner Transact returned %v, although its function has ended the goroutine", err)
		})
		return nil
	})
	r.committed(1, 9)
	r.dropped(2)
}

// A savepoint whose context has ended is rolled back, and the outer transaction goes on.
func checkInnerCancelled(r *rig) {
	r.around(func(ctx context.Context) error {
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		err := inside(r.transact(inner, func(ctx context.Context) error {
			if err := r.insert(ctx, 2); err != nil {
				return err
			}
			cancel()
			return inner.Err()
		}), context.Canceled)
		if err != nil {
			return err
		}
		// It was cancelled before.
		return inside(r.transact(inner, func(ctx context.Context) error { return r.publish(inner, 3) }), context.Canceled)
	})
	r.committed(1, 9)
	r.dropped(2)
}

// The inner function does not notice that its context has ended.
func checkInnerCancelledAtEnd(r *rig) {
	var ended error
	r.around(func(ctx context.Context) error {
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		ended = r.transact(inner, func(ctx context.Context) error {
			defer cancel()
			return r.insert(ctx, 2)
		})
		return nil
	})
	r.committed(append(append([]int{1}, ifNil(ended, 2)...), 9)...)
}

func checkStatementFailsInside(r *rig) {
	r.around(func(ctx context.Context) error {
		var failure error
		err := r.transact(ctx, func(ctx context.Context) error {
			if err := r.insert(ctx, 2); err != nil {
				return err
			}
			failure = r.subject.Fail(ctx)
			return failure
		})
		if failure == nil {
			return errors.New("Subject.Fail returned nil")
		}
		return inside(err, failure)
	})
	r.committed(1, 9)
	r.dropped(2)
}

func checkOuterFails(r *rig) {
	r.fails(r.transact(r.ctx, func(ctx context.Context) error {
		if err := r.insert(ctx, 1); err != nil {
			return err
		}
		if err := r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 2) }); err != nil {
			return err
		}
		return errors.Join(errOnPurpose, r.noneYet())
	}), errOnPurpose)
	r.committed()
	r.dropped(1, 2)
	r.goesOn()
}

func checkSiblings(r *rig) {
	r.around(func(ctx context.Context) error {
		err := r.transact(ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 2) })
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		if err := r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 3) }); err != nil {
			return err
		}
		if err := r.insert(ctx, 4); err != nil {
			return err
		}
		return inside(r.transact(ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 5) }), errOnPurpose)
	})
	r.committed(1, 3, 4, 9)
	r.dropped(2, 5)
}

func checkThreeDeep(r *rig) {
	r.around(func(ctx context.Context) error {
		err := r.transact(ctx, func(ctx context.Context) error {
			if err := r.insert(ctx, 2); err != nil {
				return err
			}
			// This succeeds in a savepoint that fails.
			if err := r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, 3) }); err != nil {
				return err
			}
			return errOnPurpose
		})
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		return r.transact(ctx, func(ctx context.Context) error {
			if err := r.insert(ctx, 4); err != nil {
				return err
			}
			err := r.transact(ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 5) })
			if err := inside(err, errOnPurpose); err != nil {
				return err
			}
			return r.insert(ctx, 6)
		})
	})
	r.committed(1, 4, 6, 9)
	r.dropped(2, 3, 5)
}

// What code does with the outer context while a savepoint is set belongs to the
// savepoint: rows by the database, and so events too.
func checkOuterContext(r *rig) {
	r.around(func(outer context.Context) error {
		err := r.transact(outer, func(ctx context.Context) error {
			if err := r.insert(outer, 2); err != nil {
				return err
			}
			if err := r.transact(outer, func(ctx context.Context) error { return r.insert(outer, 3) }); err != nil {
				return err
			}
			return errOnPurpose
		})
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		return r.transact(outer, func(ctx context.Context) error { return r.insert(outer, 4) })
	})
	r.committed(1, 4, 9)
	r.dropped(2, 3)
}
