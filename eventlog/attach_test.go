package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

func TestAttachAppendsWithTheTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		ctx := t.Context()
		broken := errors.New("broken")

		require.NoError(t, h.inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1", Total: 100}))
			require.ErrorIs(t, h.inTx(ctx, func(ctx context.Context) error {
				require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "dropped"}))
				return broken
			}), broken)
			return tidings.Publish(ctx, bus, Created{Client: "c"})
		}))
		require.ErrorIs(t, h.inTx(ctx, func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "rolled back"}))
			return broken
		}), broken)
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "outside"}))

		require.Equal(t, "1 c outside", numbers(all(t, log)))
	})
}

func TestAttachAppendsManyInOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		var want []tidings.Event
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			for i := range 1234 {
				e := tidings.Stamp(ctx, Accepted{Number: fmt.Sprintf(`%d "q" \ {,} é`, i), Total: int64(i)})
				want = append(want, e)
				require.NoError(t, tidings.Publish(ctx, bus, e))
			}
			return nil
		}))
		var got []tidings.Event
		for _, r := range all(t, log) {
			got = append(got, r.Event)
		}
		require.Equal(t, want, got)
	})
}

func TestAttachRefusesWhatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		handled := 0
		tidings.Subscribe(bus, func(context.Context, Unknown) error { handled++; return nil })

		require.ErrorIs(t, tidings.Publish(t.Context(), bus, Unknown{}), tidings.ErrUnregistered)
		require.ErrorIs(t, h.inTx(t.Context(), func(ctx context.Context) error {
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
			return tidings.Publish(ctx, bus, Unknown{})
		}), tidings.ErrUnregistered)
		require.Empty(t, all(t, log))
		require.Zero(t, handled)
	})
}
