package eventlog_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// Two modules have a database each, of one kind, and a log in each. In a
// transaction of billing, the log of orders refuses, naming both: never does a
// row of one land in the other.
func TestTwoDatabases(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, orders harness) {
		billing := orders.another(t)
		log, other := orders.open(t), billing.open(t)
		const refused = "ctx is in a transaction of another database than the log's"

		for name, does := range map[string]func(ctx context.Context) error{
			"Attach": func(ctx context.Context) error {
				bus := tidings.New()
				log.Attach(bus)
				return tidings.Publish(ctx, bus, Accepted{Number: "1"})
			},
			"Inbox": func(ctx context.Context) error {
				bus := tidings.New()
				tidings.Subscribe(bus, func(context.Context, Accepted) error {
					t.Error("handled without a note")
					return nil
				}, tidings.Named("orders.note"), tidings.InTransaction, log.Inbox())
				return tidings.Publish(ctx, bus, Accepted{Number: "1"})
			},
			"AppendTo": func(ctx context.Context) error {
				_, err := log.AppendTo(ctx, "s", eventlog.NoStream, Accepted{Number: "1"})
				return err
			},
			"StreamVersion": func(ctx context.Context) error {
				_, err := log.StreamVersion(ctx, "s")
				return err
			},
			"DeleteBefore": func(ctx context.Context) error {
				_, err := log.DeleteBefore(ctx, time.Now())
				return err
			},
		} {
			require.ErrorContains(t, billing.inTx(t.Context(), does), refused, name)
		}
		require.Empty(t, all(t, log))
		require.Empty(t, all(t, other))
		require.Zero(t, billing.count(t, `SELECT count(*) FROM tidings_inbox`))
		require.Zero(t, orders.count(t, `SELECT count(*) FROM tidings_inbox`))

		// Each log in its own, both in one.
		require.NoError(t, billing.inTx(t.Context(), func(ctx context.Context) error {
			if _, err := other.AppendTo(ctx, "s", eventlog.NoStream, Accepted{Number: "3"}); err != nil {
				return err
			}
			return orders.inTx(ctx, func(inner context.Context) error {
				if _, err := log.AppendTo(inner, "s", eventlog.NoStream, Accepted{Number: "2"}); err != nil {
					return err
				}
				_, err := other.AppendTo(inner, "s", 1, Accepted{Number: "4"})
				return err
			})
		}))
		require.Equal(t, "2", numbers(all(t, log)))
		require.Equal(t, "3 4", numbers(all(t, other)))
	})
}
