package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions"
)

const (
	countInvoices = "SELECT count(*)::text FROM invoices"
	insertInvoice = "INSERT INTO invoices (number) VALUES ($1)"
)

func TestSerializationFailure_PGX(t *testing.T) {
	t.Parallel()
	testSerializationFailure[pgx.Tx](t,
		func(t *testing.T, dsn string) tidings.Transactor {
			pool := openPGX(t, dsn)
			return tidings.Transactor{DB: pool, Run: func(ctx context.Context, body func(context.Context) error) error {
				return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
					return body(tidings.WithTx(ctx, pool, tx))
				})
			}}
		},
		func(ctx context.Context, tx pgx.Tx) (count string, err error) {
			err = tx.QueryRow(ctx, countInvoices).Scan(&count)
			return count, err
		},
		func(ctx context.Context, tx pgx.Tx, number string) error {
			_, err := tx.Exec(ctx, insertInvoice, number)
			return err
		})
}

func TestSerializationFailure_InTx(t *testing.T) {
	t.Parallel()
	testSerializationFailure[*sql.Tx](t,
		func(t *testing.T, dsn string) tidings.Transactor {
			db := openSQL(t, "pgx", dsn)
			return tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
				serializable := &sql.TxOptions{Isolation: sql.LevelSerializable}
				return tidings.InTx(ctx, db, serializable, func(ctx context.Context, _ *sql.Tx) error { return body(ctx) })
			}}
		},
		func(ctx context.Context, tx *sql.Tx) (count string, err error) {
			err = tx.QueryRowContext(ctx, countInvoices).Scan(&count)
			return count, err
		},
		func(ctx context.Context, tx *sql.Tx, number string) error {
			_, err := tx.ExecContext(ctx, insertInvoice, number)
			return err
		})
}

// testSerializationFailure: Postgres refuses one of two transactions that
// read what the other writes. The second attempt sees what the other one did,
// and only the events of the second attempt are delivered.
func testSerializationFailure[Tx any](
	t *testing.T,
	open func(t *testing.T, dsn string) tidings.Transactor,
	count func(context.Context, Tx) (string, error),
	insert func(ctx context.Context, tx Tx, number string) error,
) {
	dsn, observer := newPostgresSchema(t)
	f := newFixture(t, func(t *testing.T) library { return library{stored: numbers(observer)} })
	mine, theirs := open(t, dsn), open(t, dsn)

	// issue adds an invoice whose number is how many there were.
	issue := func(ctx context.Context, meanwhile func()) error {
		db, _ := tidings.TxDatabase(ctx)
		return inTx(ctx, db, func(tx Tx) error {
			number, err := count(ctx, tx)
			if err != nil {
				return err
			}
			if err := tidings.Publish(ctx, f.bus, InvoiceIssued{Number: number}); err != nil {
				return err
			}
			meanwhile()
			return insert(ctx, tx, number)
		})
	}
	attempts := 0
	run := transactions.Retrying(mine, 3, func(err error) bool {
		const serializationFailure = "40001"
		pgErr := (*pgconn.PgError)(nil)
		return errors.As(err, &pgErr) && pgErr.Code == serializationFailure
	})
	require.NoError(t, tidings.Transact(t.Context(), run, func(ctx context.Context) error {
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
