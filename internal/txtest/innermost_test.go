package txtest_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

// A row that is written while a savepoint is set belongs to the savepoint, and so does
// an event, whichever context of the transaction it is published with.
func TestEventsBelongToTheInnermostSavepoint(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	require.NoError(t, r.InTx(t.Context(), func(outer context.Context, _ *sql.Tx) error {
		r.MustPublish(outer, t, 1)
		require.ErrorIs(t, r.InTx(outer, func(ctx context.Context, _ *sql.Tx) error {
			r.MustPublish(outer, t, 2)
			require.NoError(t, r.InTx(outer, func(ctx context.Context, _ *sql.Tx) error { // with the outer context
				r.MustPublish(ctx, t, 3)
				r.MustPublish(outer, t, 4)
				return nil
			}))
			return txtest.ErrTx // rolls back to the first savepoint, with what is in the second
		}), txtest.ErrTx)
		r.MustPublish(outer, t, 5)
		return nil
	}))
	require.Equal(t, []string{
		"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "SAVEPOINT tidings_2", "I3", "I4", "RELEASE SAVEPOINT tidings_2",
		"ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "I5", "B1", "B5", "COMMIT", "C1", "R2", "R3", "R4", "C5",
	}, r.Statements())
}

// Code that sets savepoints itself tells the bus with a nested hook, and goes on with
// the context that it has.
func TestSavepointsByHand(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	require.NoError(t, r.Transact(t.Context(), func(ctx context.Context) error {
		_, first := tidings.NewTxHook(ctx, txtest.Database)
		r.MustPublish(ctx, t, 1)
		_, second := tidings.NewTxHook(ctx, txtest.Database) // inside the first
		r.MustPublish(ctx, t, 2)
		require.NoError(t, second.Commit(ctx))
		r.MustPublish(ctx, t, 3)
		first.Rollback(ctx)
		r.MustPublish(ctx, t, 4)
		_, third := tidings.NewTxHook(ctx, txtest.Database)
		r.MustPublish(ctx, t, 5)
		return third.Commit(ctx)
	}))
	require.Equal(t, "begin I1 I2 I3 I4 I5 B4 B5 commit R1 R2 R3 C4 C5", r.Log())
}

// A library may keep the context that its TxFunc was called with, and give it to hooks,
// as GORM does with Statement.Context. What is published with it is in the transaction.
func TestTheContextThatALibraryHasKept(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig()
	r.On(tidings.AfterRollback, "R", nil)
	r.On(tidings.AfterCommit, "C", nil)
	r.On(tidings.InTransaction, "I", func(ctx context.Context, _ txtest.Event) error {
		if tx, ok := tidings.TxFrom[string](ctx, txtest.Database); !ok || tx != "the transaction" {
			return txtest.ErrTx
		}
		return nil
	})
	var kept, keptInside context.Context
	attempts := 0
	retrying := txtest.On(func(ctx context.Context, body func(context.Context) error) error {
		kept = ctx
		run := func() error {
			_, ok := tidings.TxFrom[string](ctx, txtest.Database)
			require.False(t, ok, "a new attempt does not find the transaction of the last one")
			keptInside = tidings.WithTx(ctx, txtest.Database, "the transaction")
			return body(keptInside)
		}
		if run() == nil {
			return nil
		}
		return run()
	})
	require.NoError(t, tidings.Transact(t.Context(), retrying, func(ctx context.Context) error {
		attempts++
		db, in := tidings.TxDatabase(kept)
		require.True(t, in)
		require.Equal(t, txtest.Database, db)
		tx, ok := tidings.TxFrom[string](kept, txtest.Database)
		require.True(t, ok)
		require.Equal(t, "the transaction", tx)
		r.MustPublish(kept, t, 10*attempts)
		r.MustPublish(keptInside, t, 10*attempts+1)
		require.ErrorIs(t, tidings.Transact(ctx, txtest.Bare, func(context.Context) error {
			r.MustPublish(kept, t, 10*attempts+2) // in the savepoint
			return txtest.ErrTx
		}), txtest.ErrTx)
		if attempts == 1 {
			return txtest.ErrTx
		}
		return nil
	}))
	require.Equal(t, "I10 I11 I12 I20 I21 I22 R10 R11 R12 C20 C21 R22", r.Log())
	for _, ctx := range []context.Context{kept, keptInside} {
		require.ErrorIs(t, r.Publish(ctx, 30), tidings.ErrTxDone)
		require.ErrorIs(t, tidings.Transact(ctx, txtest.Bare, func(context.Context) error { return nil }), tidings.ErrTxDone)
	}
}

// Also inside a savepoint, whose TxFunc got the context of the outer transaction.
func TestTheContextThatALibraryHasKeptInASavepoint(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	var kept context.Context
	outer := tidings.Transactor{DB: r.DB, Run: func(ctx context.Context, body func(context.Context) error) error {
		kept = ctx
		return tidings.SQL(r.DB).Run(ctx, body)
	}}
	require.NoError(t, tidings.Transact(t.Context(), outer, func(ctx context.Context) error {
		r.MustPublish(kept, t, 1)
		require.ErrorIs(t, r.InTx(ctx, func(context.Context, *sql.Tx) error {
			r.MustPublish(kept, t, 2)
			return txtest.ErrTx
		}), txtest.ErrTx)
		return r.InTx(kept, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 3) })
	}))
	require.Equal(t, []string{
		"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "I3", "RELEASE SAVEPOINT tidings_2", "B1", "B3", "COMMIT", "C1", "R2", "C3",
	}, r.Statements())
}

// Transactions of two databases are separate, also with a TxFunc written by hand.
func TestTransactOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	r := txtest.NewRig().Phases()
	other := tidings.Transactor{DB: "another database", Run: txtest.Bare.Run}
	require.ErrorIs(t, r.Transact(t.Context(), func(ctx context.Context) error {
		r.MustPublish(ctx, t, 1)
		require.NoError(t, tidings.Transact(ctx, other, func(ctx context.Context) error {
			r.MustPublish(ctx, t, 2)
			return r.Transact(ctx, func(ctx context.Context) error { return r.Publish(ctx, 3) })
		}))
		return txtest.ErrTx
	}), txtest.ErrTx)
	require.Equal(t, "begin I1 I2 save I3 release B2 C2 rollback R1 R3", r.Log())

	for _, tt := range []struct {
		t    tidings.Transactor
		want string
	}{
		{tidings.Transactor{Run: txtest.Bare.Run}, "tidings: Transact with a Transactor whose DB is <nil>: set what stands for the database, such as the *sql.DB"},
		{tidings.Transactor{DB: []int{}, Run: txtest.Bare.Run}, "tidings: Transact with a Transactor whose DB is []int: set what stands for the database, such as the *sql.DB"},
		{tidings.Transactor{DB: "db"}, "tidings: Transact with a nil function"},
	} {
		require.EqualError(t, tidings.Transact(t.Context(), tt.t, func(context.Context) error { return nil }), tt.want)
	}
}
