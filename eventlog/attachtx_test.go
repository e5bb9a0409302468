package eventlog_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/tidingstest"
)

// What the database refuses fails the transaction, as one error, and
// nothing is delivered.
func TestAttachFailsTheTransaction(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		recorder := tidingstest.Record(bus)
		h.exec(t, `CREATE TABLE mine (n integer)`)
		h.exec(t, `ALTER TABLE tidings_events RENAME TO away`)
		err := h.inTx(t.Context(), func(ctx context.Context) error {
			for range 30 {
				require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "1"}))
			}
			return nil
		})
		require.ErrorContains(t, err, `appending 30 events`)
		require.ErrorContains(t, err, `tidings_events`)
		var he *tidings.HandlerError
		require.ErrorAs(t, err, &he)
		require.Equal(t, "eventlog", he.Handler)
		require.NotContains(t, err.Error(), "\n", "one error")
		require.Error(t, tidings.Publish(t.Context(), bus, Accepted{Number: "1"}))
		require.Empty(t, recorder.Delivered())
		require.Len(t, recorder.RolledBack(), 31)

		h.exec(t, `ALTER TABLE away RENAME TO tidings_events`)
		require.NoError(t, tidings.Publish(t.Context(), bus, Accepted{Number: "2"}))
		require.Equal(t, "2", numbers(all(t, log)))
	})
}

func TestAttachInATransactionOfAnotherKind(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		recorder := tidingstest.Record(bus)
		committed := false
		err := tidings.Transact(t.Context(), func(ctx context.Context, body func(context.Context) error) error {
			err := body(tidings.WithTx(ctx, &otherTx{}))
			committed = err == nil
			return err
		}, func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{Number: "1"}) })
		require.ErrorContains(t, err, "the transaction in ctx is a *eventlog_test.otherTx, but the log writes through ")
		require.ErrorContains(t, err, "tidings.WithTx")
		require.False(t, committed)
		require.Empty(t, recorder.Delivered())

		_, err = log.Last(tidings.WithTx(t.Context(), &otherTx{}))
		require.ErrorContains(t, err, "the transaction in ctx is a *eventlog_test.otherTx")
		for _, err = range log.Read(tidings.WithTx(t.Context(), &otherTx{})) {
			require.ErrorContains(t, err, "the transaction in ctx is a *eventlog_test.otherTx")
		}
		require.Error(t, err)

		// With the right one as well, in either order.
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(tidings.WithTx(ctx, &otherTx{}), bus, Accepted{Number: "2"})
		}))
		require.NoError(t, h.inTx(tidings.WithTx(t.Context(), &otherTx{}), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "3"})
		}))
		require.Equal(t, "2 3", numbers(all(t, log)))
	})
}

func TestAttachWithATransactionByHand(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		recorder := tidingstest.Record(bus)
		run := func(number string, prepare bool, end func(commit, rollback func() error) error) error {
			outside := t.Context()
			ctx, hook := tidings.NewTxHook(outside)
			defer hook.Rollback(outside)
			ctx, commit, rollback, err := h.begin(ctx)
			require.NoError(t, err)
			defer func() { _ = rollback() }() // unless it has ended
			require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: number}))
			require.Empty(t, numbers(all(t, log, eventlog.Limit(0))))
			if prepare {
				require.NoError(t, hook.Prepare(ctx))
				mine := []tidings.Event{}
				for r, err := range log.Read(ctx) {
					require.NoError(t, err)
					mine = append(mine, r.Event)
				}
				require.Equal(t, number, mine[len(mine)-1].(Accepted).Number, "the transaction sees its own")
			}
			if err := end(commit, rollback); err != nil {
				return err
			}
			return hook.Commit(ctx)
		}
		require.NoError(t, run("1", true, func(commit, _ func() error) error { return commit() }))
		require.ErrorIs(t, run("2", true, func(_, rollback func() error) error {
			require.NoError(t, rollback())
			return errOnPurpose
		}), errOnPurpose)
		require.ErrorContains(t, run("3", false, func(commit, _ func() error) error { return commit() }), "without Prepare")
		require.Equal(t, "1", numbers(all(t, log)))
		require.Len(t, recorder.Delivered(), 2, "3 was committed, though not appended, which is the error")
		require.Len(t, recorder.RolledBack(), 1)
	})
}

// What is written beside a transaction stays when that rolls back.
func TestAttachRefusesATransactionThatIsNotInTheContext(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		forgetful := func(ctx context.Context, body func(context.Context) error) error { return body(ctx) }
		err := tidings.Transact(t.Context(), forgetful, func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "beside"})
		})
		require.ErrorContains(t, err, "add it with tidings.WithTx")

		ctx, hook := tidings.NewTxHook(t.Context())
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "beside"}))
		require.ErrorContains(t, hook.Prepare(ctx), "add it with tidings.WithTx")
		hook.Rollback(ctx)
		require.Empty(t, all(t, log))
	})
}
