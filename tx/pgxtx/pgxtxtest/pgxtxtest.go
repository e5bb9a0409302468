// Package pgxtxtest lets tests run code that commits transactions of pgx, without leaving
// a trace in the database.
package pgxtxtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidings-go/tidings/internal/deferred"
	"github.com/tidings-go/tidings/internal/testhook"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// Sandbox begins a transaction on db, rolls it back at the end of the test, and returns a
// context in which the transaction replaces db: where code begins a transaction with
// [pgxtx.InTx], it gets a savepoint, and counts as committed when the savepoint is
// released and the constraints hold that Postgres checks at COMMIT. [pgxtx.From] returns
// the transaction. So code that commits can be tested, with all of its handlers:
//
//	ctx, tx := pgxtxtest.Sandbox(t, pool)
//	err := crm.Accept(ctx, 7) // calls pgxtx.InTx(ctx, pool, ...)
//	...
//	tx.QueryRow(ctx, "SELECT state FROM proposals WHERE id = 7") // sees it
//
// Code that uses the pool itself is outside of the transaction. All code shares one
// connection here: transactions take turns, and the test should wait for Async handlers,
// with tidingstest.Drain, before it uses tx again. Call Sandbox before tidingstest.NewBus,
// so that the bus is closed while handlers can still use the transaction.
func Sandbox(t testing.TB, db pgxtx.DB) (context.Context, pgx.Tx) {
	t.Helper()
	// Not t.Context(), which ends before the bus is closed.
	tx, err := db.BeginTx(context.Background(), pgx.TxOptions{})
	if err != nil {
		t.Fatalf("pgxtxtest: Sandbox: begin: %v", err)
	}
	t.Cleanup(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Errorf("pgxtxtest: Sandbox: rolling back: %v", err)
		}
	})
	check := func(ctx context.Context) error {
		return deferred.CheckPostgres(
			func(query string, dest ...any) error { return tx.QueryRow(ctx, query).Scan(dest...) },
			func(statement string) error {
				_, err := tx.Exec(ctx, statement)
				return err
			})
	}
	return testhook.WithBase(t.Context(), db, tx, func(context.Context) (func(context.Context) error, error) { return check, nil }), tx
}
