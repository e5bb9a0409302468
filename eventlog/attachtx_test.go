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
		for _, tt := range []struct {
			db   any
			want string
		}{
			{h.key, "the transaction in ctx has no "},
			{&otherTx{}, "ctx is in a transaction of another database than the log's: of a *eventlog_test.otherTx, and the log is on a "},
		} {
			committed := false
			another := tidings.Transactor{DB: tt.db, Run: func(ctx context.Context, body func(context.Context) error) error {
				err := body(tidings.WithTx(ctx, tt.db, &otherTx{}))
				committed = err == nil
				return err
			}}
			require.ErrorContains(t, tidings.Transact(t.Context(), another, func(ctx context.Context) error {
				return tidings.Publish(ctx, bus, Accepted{Number: "1"})
			}), tt.want)
			require.False(t, committed)
			require.Empty(t, recorder.Delivered())

			require.NoError(t, tidings.Transact(t.Context(), another, func(ctx context.Context) error {
				_, err := log.Last(ctx)
				require.ErrorContains(t, err, tt.want)
				for _, err = range log.Read(ctx) {
					require.ErrorContains(t, err, tt.want)
				}
				require.Error(t, err)
				_, err = log.AppendTo(ctx, "s", eventlog.NoStream, Accepted{Number: "1"})
				require.ErrorContains(t, err, tt.want)
				require.ErrorContains(t, eventlog.Migrate(ctx, h.db), tt.want)
				_, err = eventlog.Open(ctx, h.db, newRegistry(), eventlog.WithoutMigration())
				require.ErrorContains(t, err, tt.want)
				return nil
			}))
		}

		// With the right one as well, in either order.
		other := &otherTx{}
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(tidings.WithTx(ctx, h.key, other), bus, Accepted{Number: "2"})
		}))
		require.NoError(t, h.inTx(t.Context(), func(ctx context.Context) error {
			return tidings.Publish(tidings.WithTx(ctx, other, other), bus, Accepted{Number: "3"})
		}))
		require.NoError(t, tidings.Transact(t.Context(), tidings.Transactor{DB: other, Run: bare}, func(ctx context.Context) error {
			return h.inTx(ctx, func(ctx context.Context) error { return tidings.Publish(ctx, bus, Accepted{Number: "4"}) })
		}))
		require.Equal(t, "2 3 4", numbers(all(t, log)))
	})
}

// bare is a TxFunc without a transaction.
func bare(ctx context.Context, body func(context.Context) error) error { return body(ctx) }

// otherTx is a transaction of another library, or another database.
type otherTx struct{ _ int }

func TestAttachWithATransactionByHand(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		log, bus := h.attached(t)
		recorder := tidingstest.Record(bus)
		run := func(number string, prepare bool, end func(commit, rollback func() error) error) error {
			outside := t.Context()
			ctx, hook := tidings.NewTxHook(outside, h.key)
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
		forgetful := tidings.Transactor{DB: h.key, Run: bare}
		err := tidings.Transact(t.Context(), forgetful, func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, Accepted{Number: "beside"})
		})
		require.ErrorContains(t, err, "add it with tidings.WithTx")

		ctx, hook := tidings.NewTxHook(t.Context(), h.key)
		require.NoError(t, tidings.Publish(ctx, bus, Accepted{Number: "beside"}))
		require.ErrorContains(t, hook.Prepare(ctx), "add it with tidings.WithTx")
		hook.Rollback(ctx)
		require.Empty(t, all(t, log))
	})
}
