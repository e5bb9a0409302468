package transactions_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func testCommit(t *testing.T, f *fixture) {
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error {
		if err := f.issue(ctx, "A"); err != nil {
			return err
		}
		require.Empty(t, f.delivered, "before the commit")
		return f.issue(ctx, "B")
	}))
	f.requireCommitted(t, "A", "B")
	f.requireDropped(t)
	require.Empty(t, f.failed)
}

func testError(t *testing.T, f *fixture) {
	require.ErrorIs(t, f.transact(t.Context(), func(ctx context.Context) error {
		return errors.Join(f.issue(ctx, "A"), errChangedMind)
	}), errChangedMind)
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

func testPanic(t *testing.T, f *fixture) {
	require.PanicsWithValue(t, "out of paper", func() {
		_ = f.transact(t.Context(), func(ctx context.Context) error {
			require.NoError(t, f.issue(ctx, "A"))
			panic("out of paper")
		})
	})
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	// The connection is back in the pool, without a transaction.
	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

func testGoexit(t *testing.T, f *fixture) {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.transact(t.Context(), func(ctx context.Context) error {
			err = f.issue(ctx, "A")
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	require.NoError(t, err)
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

// testCommitFails: the constraint of payments is checked by COMMIT.
func testCommitFails(t *testing.T, f *fixture) {
	require.Error(t, f.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		require.NoError(t, f.exec(ctx, "INSERT INTO payments (invoice_id) VALUES (4711)"))
		return nil
	}))
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "B") }))
	f.requireCommitted(t, "B")
}

func testCancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, f.transact(ctx, func(ctx context.Context) error {
		require.NoError(t, f.issue(ctx, "A"))
		cancel()
		return f.issue(ctx, "B")
	}), context.Canceled)
	f.requireCommitted(t)
	f.requireDropped(t, "A")

	require.NoError(t, f.transact(t.Context(), func(ctx context.Context) error { return f.issue(ctx, "C") }))
	f.requireCommitted(t, "C")
}

// testConcurrent: transactions that share the bus and the pool are independent.
func testConcurrent(t *testing.T, f *fixture) {
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for worker := range errs {
		wg.Go(func() {
			for i := range 5 {
				err := f.transact(t.Context(), func(ctx context.Context) error {
					number := fmt.Sprintf("%d-%d", worker, i)
					inner := f.transact(ctx, func(ctx context.Context) error {
						if err := f.issue(ctx, number+" inner"); err != nil || i%2 == 0 {
							return err
						}
						return errChangedMind
					})
					if !errors.Is(inner, errChangedMind) && inner != nil {
						return inner
					}
					if err := f.issue(ctx, number); err != nil || i != 3 {
						return err
					}
					return errChangedMind
				})
				if !errors.Is(err, errChangedMind) {
					errs[worker] = errors.Join(errs[worker], err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	stored, err := f.stored(t.Context())
	require.NoError(t, err)
	require.Len(t, stored, 4*(4+3), "four outer transactions and three savepoints each")
	require.ElementsMatch(t, stored, f.delivered)
	require.Len(t, f.dropped, 4*(1+2))
}
