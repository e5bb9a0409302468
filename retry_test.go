package tidings_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/retry"
)

func TestPermanent(t *testing.T) {
	t.Parallel()
	cause := errors.New("no such client")
	err := tidings.Permanent(cause)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, cause.Error())
	require.True(t, retry.IsPermanent(fmt.Errorf("onboarding: %w", err)))
	require.False(t, retry.IsPermanent(cause))
	require.False(t, retry.IsPermanent(nil))
	require.NoError(t, tidings.Permanent(nil))
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	cause := errors.New("busy")
	err := tidings.RetryAfter(cause, time.Minute)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, cause.Error())
	wait, ok := retry.After(fmt.Errorf("billing: %w", err))
	require.True(t, ok)
	require.Equal(t, time.Minute, wait)
	wait, ok = retry.After(tidings.RetryAfter(cause, 0))
	require.True(t, ok, "at once")
	require.Zero(t, wait)
	_, ok = retry.After(cause)
	require.False(t, ok)
	require.NoError(t, tidings.RetryAfter(nil, time.Second))
	require.PanicsWithValue(t, "tidings: RetryAfter(-1s): the wait cannot be negative", func() { _ = tidings.RetryAfter(cause, -time.Second) })
	require.True(t, retry.IsPermanent(tidings.RetryAfter(tidings.Permanent(cause), time.Second)), "both can be said")
}

type ownError struct{ error }

func (ownError) Permanent() bool           { return false }
func (ownError) RetryAfter() time.Duration { return -time.Hour }

// Errors of other packages say the same with methods.
func TestRetryOfOtherErrors(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("carrier: %w", ownError{errors.New("closed")})
	require.False(t, retry.IsPermanent(err), "its method says so")
	wait, ok := retry.After(err)
	require.True(t, ok)
	require.Zero(t, wait, "that time has passed")
}
