package gormtx_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/durable/durabletest"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/gormtx"
)

// Jobs are stored in the transaction, and durable handlers run in one, which they find with
// From.
func TestDurable(t *testing.T) {
	t.Parallel()
	for _, config := range []gorm.Config{{}, {PrepareStmt: true}} {
		f := newFixture(t, onSQLite, config)
		ctx := t.Context()
		migrator, err := rivermigrate.New(riversqlite.New(f.sql), nil)
		require.NoError(t, err)
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		require.NoError(t, err)
		var registry tidings.Registry
		tidings.Register[InvoiceIssued](&registry, "billing.invoice_issued", 1)
		clock := tidingstest.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
		settings := durabletest.Configure(&river.Config{}, clock.Now)
		client, err := river.NewClient(riversqlite.New(f.sql), settings)
		require.NoError(t, err)
		jobs, err := durable.New(client, settings.Workers, gormtx.Transactor(f.db), &registry, durable.WithClock(clock.Now))
		require.NoError(t, err)

		bus := tidings.New(tidings.WithClock(clock.Now))
		attempts := 0
		tidings.Subscribe(bus, func(ctx context.Context, e InvoiceIssued) error {
			tx := gormtx.From(ctx, f.db)
			require.NoError(t, tx.Create(&Invoice{Number: e.Number + "2"}).Error)
			require.NoError(t, tx.SavePoint("sp").Error)
			require.NoError(t, tx.Create(&Invoice{Number: e.Number + "3"}).Error)
			require.NoError(t, tx.RollbackTo("sp").Error)
			if attempts++; attempts == 1 {
				return errChangedMind
			}
			return nil
		}, tidings.Named("billing.copy"), tidings.Via(jobs), tidings.Backoff(func(int) time.Duration { return time.Minute }))

		publish := func(number string, result error) error {
			return f.inTx(ctx, func(ctx context.Context, tx *gorm.DB) error {
				require.NoError(t, tx.Create(&Invoice{Number: number}).Error)
				require.NoError(t, tidings.Publish(ctx, bus, InvoiceIssued{Number: number}))
				return result
			})
		}
		require.ErrorIs(t, publish("A", errChangedMind), errChangedMind)
		require.NoError(t, publish("B", nil))
		require.NoError(t, durabletest.Drain(ctx, jobs))
		require.Equal(t, 1, attempts)
		require.Equal(t, []string{"B"}, f.stored(t))
		clock.Advance(time.Minute)
		require.NoError(t, durabletest.Drain(ctx, jobs))
		require.Equal(t, 2, attempts)
		require.Equal(t, []string{"B", "B2"}, f.stored(t))
		require.NoError(t, bus.Close(ctx))
	}
}
