package txtest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		nested bool
	}{{"outermost", false}, {"nested", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig().Phases()
			retrying := func(ctx context.Context, body func(context.Context) error) (err error) {
				for range 3 {
					if err = r.Run(ctx, body); err == nil {
						return nil
					}
				}
				return err
			}
			attempt := 0
			fn := func(ctx context.Context) error {
				attempt++
				r.MustPublish(ctx, t, attempt)
				if attempt < 3 {
					return txtest.ErrTx
				}
				return nil
			}
			if tt.nested {
				require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
					return tidings.Transact(ctx, txtest.On(retrying), fn)
				}))
				require.Equal(t, "begin save I1 back save I2 back save I3 release B3 commit R1 R2 C3", r.Log())
			} else {
				require.NoError(t, tidings.Transact(t.Context(), txtest.On(retrying), fn))
				require.Equal(t, "begin I1 rollback begin I2 rollback begin I3 B3 commit R1 R2 C3", r.Log())
			}
		})
	}
}

func TestRetryAfterAFailedCommit(t *testing.T) {
	t.Parallel()
	// A serialization failure often occurs at COMMIT. By then the first attempt has run
	// its BeforeCommit handlers, and accepts no more events.
	r := txtest.NewRig().Phases()
	var first context.Context
	require.NoError(t, tidings.Transact(t.Context(), txtest.On(func(ctx context.Context, body func(context.Context) error) error {
		if err := body(ctx); err != nil {
			return err
		}
		require.ErrorIs(t, r.Publish(first, 8), tidings.ErrTxDone)
		r.Note("failed commit")
		return r.Run(ctx, body)
	}), func(ctx context.Context) error {
		if first == nil {
			first = ctx
			return r.Publish(ctx, 1)
		}
		require.ErrorIs(t, r.Publish(first, 9), tidings.ErrTxDone, "the earlier attempt stays finished")
		return r.Publish(ctx, 2)
	}))
	require.Equal(t, "I1 B1 failed commit begin I2 B2 commit R1 C2", r.Log())
}

func TestRetryAfterAPanic(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	calls := 0
	require.NoError(t, tidings.Transact(t.Context(), txtest.On(func(ctx context.Context, body func(context.Context) error) error {
		require.Panics(t, func() { _ = body(ctx) })
		return body(ctx)
	}), func(ctx context.Context) error {
		calls++
		r.MustPublish(ctx, t, calls)
		if calls == 1 {
			panic("boom")
		}
		return nil
	}))
	require.Equal(t, "I1 I2 B2 R1 C2", r.Log())
}
