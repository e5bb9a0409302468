package txtest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tidings-go/tidings"
)

// A transaction of a second database inside one of the first is separate.
func checkTwoDatabases(r *rig) {
	a, b := r.subject, r.opened()
	if a.Transactor.DB == b.Transactor.DB {
		r.Fatalf("Transactor.DB is %v for two databases: use a value that each of them has to itself, such as its pool", a.Transactor.DB)
	}
	var storedA, storedB, delivered, dropped []int
	end := func(err error, stored *[]int, numbers ...int) {
		if err != nil {
			dropped = append(dropped, numbers...)
			return
		}
		delivered = append(delivered, numbers...)
		*stored = append(*stored, numbers...)
	}
	for i, ends := range []struct{ a, b error }{{nil, nil}, {errOnPurpose, nil}, {nil, errOnPurpose}, {errOnPurpose, errOnPurpose}} {
		n := 10 * i
		err := r.transact(r.ctx, func(ctx context.Context) error {
			if err := r.insert(ctx, n+1); err != nil {
				return err
			}
			err := tidings.Transact(ctx, r.watched(b.Transactor), func(ctx context.Context) error {
				for _, s := range []Subject{a, b} {
					if _, ok := tidings.TxFrom[any](ctx, s.Transactor.DB); !ok {
						return errors.New("inside transactions of two databases, TxFrom does not find both")
					}
				}
				if db, _ := tidings.TxDatabase(ctx); db != b.Transactor.DB {
					return fmt.Errorf("inside transactions of two databases, TxDatabase returns %v, want the inner one, %v", db, b.Transactor.DB)
				}
				if err := r.insertInto(ctx, b, n+2); err != nil {
					return err
				}
				if r.features.NoSavepoints {
					return ends.b
				}
				// A savepoint of a, which the end of b's transaction does not affect.
				if err := r.transact(ctx, func(ctx context.Context) error { return r.insert(ctx, n+3) }); err != nil {
					return err
				}
				return ends.b
			})
			if err := inside(err, ends.b); err != nil {
				return err
			}
			end(ends.b, &storedB, n+2)
			if err := r.wantDelivered(delivered); err != nil {
				return fmt.Errorf("after the inner transaction, of the other database: %w", err)
			}
			if err := r.insert(ctx, n+4); err != nil {
				return err
			}
			return ends.a
		})
		r.fails(err, ends.a)
		if r.features.NoSavepoints {
			end(ends.a, &storedA, n+1, n+4)
		} else {
			end(ends.a, &storedA, n+1, n+3, n+4)
		}
		r.must(r.wantDelivered(delivered))
		r.dropped(dropped...)
		r.stored(a, storedA...)
		r.stored(b, storedB...)
	}
}

func (r *rig) wantDelivered(numbers []int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.delivered, numbers) {
		return fmt.Errorf("the events %v were delivered, want %v", r.delivered, numbers)
	}
	return nil
}

// Hooks of the library publish with the context that the library has kept.
func checkKept(r *rig) {
	r.optional(r.subject.Kept != nil, "Kept")
	tidings.Subscribe(r.bus, func(ctx context.Context, e inserted) error {
		if _, ok := tidings.TxFrom[any](ctx, r.subject.Transactor.DB); !ok {
			return errors.New("TxFrom finds no transaction in an InTransaction handler of an event that was published with the kept context")
		}
		return nil
	}, tidings.InTransaction)
	var kept []context.Context
	for _, end := range []error{nil, errOnPurpose} {
		r.fails(r.transact(r.ctx, func(ctx context.Context) error {
			kept = append(kept, r.subject.Kept(ctx))
			if err := r.subject.Insert(ctx, len(kept)); err != nil {
				return err
			}
			if err := r.publish(kept[len(kept)-1], len(kept)); err != nil {
				return err
			}
			return errors.Join(end, r.noneOf(len(kept)))
		}), end)
	}
	r.committed(1)
	r.dropped(2)
	for _, ctx := range kept {
		if err := r.publish(ctx, 3); !errors.Is(err, tidings.ErrTxDone) {
			r.Errorf("Publish with the kept context of a finished transaction returned %v, want %v", err, tidings.ErrTxDone)
		}
	}
	r.committed(1)
}

// noneOf returns an error if event n was delivered.
func (r *rig) noneOf(n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.delivered, n) || slices.Contains(r.rolledBack, n) {
		return fmt.Errorf("event %d was delivered before the end of the transaction", n)
	}
	return nil
}

// The kept context is that of the savepoint, or of the outer transaction. In either case
// the event belongs to the savepoint.
func checkKeptInside(r *rig) {
	r.optional(r.subject.Kept != nil, "Kept")
	insert := func(ctx context.Context, n int) error {
		if err := r.subject.Insert(ctx, n); err != nil {
			return err
		}
		return r.publish(r.subject.Kept(ctx), n)
	}
	r.around(func(outer context.Context) error {
		err := r.transact(outer, func(ctx context.Context) error {
			if err := errors.Join(insert(ctx, 2), insert(outer, 3)); err != nil {
				return err
			}
			return errOnPurpose
		})
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		err = r.transact(outer, func(ctx context.Context) error { return errors.Join(insert(ctx, 4), insert(outer, 5)) })
		if err != nil || r.subject.Native == nil {
			return err
		}
		err = r.subject.Native(outer, func(ctx context.Context) error {
			if err := errors.Join(insert(ctx, 6), insert(outer, 7)); err != nil {
				return err
			}
			return errOnPurpose
		})
		return inside(err, errOnPurpose)
	})
	r.committed(1, 4, 5, 9)
	if r.subject.Native == nil {
		r.dropped(2, 3)
	} else {
		r.dropped(2, 3, 6, 7)
	}
}

// A savepoint that the library sets without tidings takes its events with it.
func checkNative(r *rig) {
	r.optional(r.subject.Native != nil, "Native")
	r.around(func(outer context.Context) error {
		err := r.subject.Native(outer, func(ctx context.Context) error {
			if err := r.insert(ctx, 2); err != nil {
				return err
			}
			return r.insertAndFail(outer, 3)
		})
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		if err := r.insert(outer, 4); err != nil {
			return err
		}
		return r.subject.Native(outer, func(ctx context.Context) error {
			if err := r.insert(ctx, 5); err != nil {
				return err
			}
			return r.insert(outer, 6)
		})
	})
	r.committed(1, 4, 5, 6, 9)
	r.dropped(2, 3)
}

func checkNativePanics(r *rig) {
	r.optional(r.subject.Native != nil, "Native")
	r.innerPanics(r.subject.Native)
}

func checkNativeOuterFails(r *rig) {
	r.optional(r.subject.Native != nil, "Native")
	r.fails(r.transact(r.ctx, func(outer context.Context) error {
		if err := r.subject.Native(outer, func(ctx context.Context) error { return r.insert(ctx, 1) }); err != nil {
			return err
		}
		return errors.Join(errOnPurpose, r.noneYet())
	}), errOnPurpose)
	r.committed()
	r.dropped(1)
	r.goesOn()
}

func checkNativeNested(r *rig) {
	r.optional(r.subject.Native != nil, "Native")
	r.nestedScopes(r.subject.Native, r.subject.Native)
}

func checkNativeInside(r *rig) {
	r.optional(r.subject.Native != nil, "Native")
	r.nestedScopes(r.transact, r.subject.Native)
}

func checkNativeAround(r *rig) {
	r.optional(r.subject.Native != nil, "Native")
	r.nestedScopes(r.subject.Native, r.transact)
}

// nestedScopes runs both kinds of scopes inside each other, with each way in which they
// can end.
func (r *rig) nestedScopes(first, second func(context.Context, func(context.Context) error) error) {
	r.around(func(ctx context.Context) error {
		// The inner one fails.
		err := first(ctx, func(ctx context.Context) error {
			if err := r.insert(ctx, 2); err != nil {
				return err
			}
			err := second(ctx, func(ctx context.Context) error { return r.insertAndFail(ctx, 3) })
			if err := inside(err, errOnPurpose); err != nil {
				return err
			}
			return r.insert(ctx, 4)
		})
		if err != nil {
			return err
		}
		// The outer one fails.
		err = first(ctx, func(ctx context.Context) error {
			if err := second(ctx, func(ctx context.Context) error { return r.insert(ctx, 5) }); err != nil {
				return err
			}
			return r.insertAndFail(ctx, 6)
		})
		if err := inside(err, errOnPurpose); err != nil {
			return err
		}
		// Both succeed.
		return first(ctx, func(ctx context.Context) error {
			return second(ctx, func(ctx context.Context) error { return r.insert(ctx, 7) })
		})
	})
	r.committed(1, 2, 4, 7, 9)
	r.dropped(3, 5, 6)
}
