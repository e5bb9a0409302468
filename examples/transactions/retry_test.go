package transactions_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func testRetry(t *testing.T, f *fixture) {
	if f.retrying == nil {
		t.Skip("this way to run transactions does not retry")
	}
	attempts := 0
	require.NoError(t, f.retrying(t.Context(), func(err error) bool { return errors.Is(err, errChangedMind) }, func(ctx context.Context) error {
		attempts++
		if err := f.issue(ctx, fmt.Sprintf("attempt %d", attempts)); err != nil {
			return err
		}
		return f.retrying(ctx, func(error) bool { return true }, func(context.Context) error {
			if attempts < 3 {
				return errChangedMind
			}
			return nil
		})
	}))
	require.Equal(t, 3, attempts, "the nested transaction does not retry by itself")
	f.requireCommitted(t, "attempt 3")
	f.requireDropped(t, "attempt 1", "attempt 2")
}

func testRetryGivesUp(t *testing.T, f *fixture) {
	if f.retrying == nil {
		t.Skip("this way to run transactions does not retry")
	}
	attempts := 0
	fail := func(ctx context.Context) error {
		attempts++
		return errors.Join(f.issue(ctx, "A"), errChangedMind)
	}
	require.ErrorIs(t, f.retrying(t.Context(), func(error) bool { return true }, fail), errChangedMind)
	require.Equal(t, 3, attempts)
	require.ErrorIs(t, f.retrying(t.Context(), func(error) bool { return false }, fail), errChangedMind)
	require.Equal(t, 4, attempts)
	f.requireCommitted(t)
	f.requireDropped(t, "A", "A", "A", "A")
}

// testRetryCommit: the COMMIT of the first attempt fails.
func testRetryCommit(t *testing.T, f *fixture) {
	if f.retrying == nil {
		t.Skip("this way to run transactions does not retry")
	}
	attempts := 0
	require.NoError(t, f.retrying(t.Context(), func(error) bool { return true }, func(ctx context.Context) error {
		attempts++
		require.NoError(t, f.issue(ctx, fmt.Sprintf("attempt %d", attempts)))
		if attempts == 1 {
			return f.exec(ctx, "INSERT INTO payments (invoice_id) VALUES (4711)")
		}
		return nil
	}))
	f.requireCommitted(t, "attempt 2")
	f.requireDropped(t, "attempt 1")
}
