package transactions_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions"
)

// TestSerializationFailure: Postgres refuses one of two transactions that
// read what the other writes. Its second attempt sees what came of the first,
// and of the events only those of the second are delivered.
func TestSerializationFailure(t *testing.T) {
	t.Parallel()
	dsn, observer := newPostgresSchema(t)
	f := newFixture(t, func(t *testing.T) library { return library{stored: numbers(observer)} })

	serializable := func(t *testing.T) tidings.TxFunc {
		pool := openPGX(t, dsn)
		return func(ctx context.Context, body func(context.Context) error) error {
			return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
				return body(tidings.WithTx(ctx, tx))
			})
		}
	}
	mine := transactions.Retrying[pgx.Tx](serializable(t), 3, func(err error) bool {
		const serializationFailure = "40001"
		pgErr := (*pgconn.PgError)(nil)
		return errors.As(err, &pgErr) && pgErr.Code == serializationFailure
	})
	theirs := serializable(t)

	// issue adds an invoice whose number is how many there were.
	issue := func(ctx context.Context, meanwhile func()) error {
		return inTx(ctx, func(tx pgx.Tx) error {
			var next string
			if err := tx.QueryRow(ctx, "SELECT count(*)::text FROM invoices").Scan(&next); err != nil {
				return err
			}
			if err := tidings.Publish(ctx, f.bus, InvoiceIssued{Number: next}); err != nil {
				return err
			}
			meanwhile()
			_, err := tx.Exec(ctx, "INSERT INTO invoices (number) VALUES ($1)", next)
			return err
		})
	}

	attempts := 0
	require.NoError(t, tidings.Transact(t.Context(), mine, func(ctx context.Context) error {
		attempts++
		return issue(ctx, func() {
			if attempts > 1 {
				return
			}
			require.NoError(t, tidings.Transact(t.Context(), theirs, func(ctx context.Context) error {
				return issue(ctx, func() {})
			}))
		})
	}))
	require.Equal(t, 2, attempts)
	f.requireCommitted(t, "0", "1")
	f.requireDropped(t, "0")
	require.Empty(t, f.failed)
}
