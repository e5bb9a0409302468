package transactions_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/examples/transactions"
	"github.com/tidings-go/tidings/internal/testdb"
)

// A pair is two databases with one bus.
type pair struct {
	*fixture
	a, b             *sql.DB
	storedA, storedB func(context.Context) ([]string, error)
}

func newPair(t *testing.T, openA, openB newDB) pair {
	t.Helper()
	f := newFixture(t, func(*testing.T) library { return library{} })
	a, observerA := openA(t)
	b, observerB := openB(t)
	return pair{f, a, b, numbers(observerA), numbers(observerB)}
}

// issueIn issues an invoice in tx. Number and table need no placeholder.
func (p pair) issueIn(ctx context.Context, tx *sql.Tx, number string) error {
	if _, err := tx.ExecContext(ctx, "INSERT INTO invoices (number) VALUES ('"+number+"')"); err != nil {
		return err
	}
	return tidings.Publish(ctx, p.bus, InvoiceIssued{Number: number})
}

func (p pair) requireStored(t *testing.T, a, b []string) {
	t.Helper()
	stored, err := p.storedA(t.Context())
	require.NoError(t, err)
	require.Equal(t, a, stored, "the first database")
	stored, err = p.storedB(t.Context())
	require.NoError(t, err)
	require.Equal(t, b, stored, "the second database")
}

func TestInTx_TwoDatabases(t *testing.T) {
	t.Parallel()
	t.Run("SQLite and SQLite", func(t *testing.T) { testTwoDatabases(t, newSQLite, newSQLite) })
	t.Run("SQLite and Postgres", func(t *testing.T) {
		testdb.Server(t)
		testTwoDatabases(t, newSQLite, newPostgres)
	})
	t.Run("Postgres and SQLite", func(t *testing.T) {
		testdb.Server(t)
		testTwoDatabases(t, newPostgres, newSQLite)
	})
}

// testTwoDatabases: a transaction on b inside a transaction on a is independent.
func testTwoDatabases(t *testing.T, openA, openB newDB) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		failA, failB     bool
		storedA, storedB []string
		delivered        []string
		dropped          []string
	}{
		{"both commit", false, false, []string{"a1", "a2", "a3"}, []string{"b"}, []string{"b", "a1", "a2", "a3"}, nil},
		{"the outer fails", true, false, nil, []string{"b"}, []string{"b"}, []string{"a1", "a2", "a3"}},
		// The release of the savepoint in a does not affect b.
		{"the inner fails", false, true, []string{"a1", "a2", "a3"}, nil, []string{"a1", "a2", "a3"}, []string{"b"}},
		{"both fail", true, true, nil, nil, nil, []string{"b", "a1", "a2", "a3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, openA, openB)
			fail := func(yes bool) error {
				if yes {
					return errChangedMind
				}
				return nil
			}
			err := tidings.InTx(t.Context(), p.a, nil, func(ctx context.Context, outer *sql.Tx) error {
				require.NoError(t, p.issueIn(ctx, outer, "a1"))
				err := tidings.InTx(ctx, p.b, nil, func(ctx context.Context, tx *sql.Tx) error {
					require.NotSame(t, outer, tx)
					require.NoError(t, p.issueIn(ctx, tx, "b"))
					// A savepoint of a, although b's transaction is in between.
					require.NoError(t, tidings.InTx(ctx, p.a, nil, func(ctx context.Context, tx *sql.Tx) error {
						require.Same(t, outer, tx)
						return p.issueIn(ctx, tx, "a2")
					}))
					return fail(c.failB)
				})
				require.ErrorIs(t, err, fail(c.failB))
				require.Equal(t, !c.failB, len(p.delivered) == 1, "b has ended")
				require.NoError(t, p.issueIn(ctx, outer, "a3"))
				return fail(c.failA)
			})
			require.ErrorIs(t, err, fail(c.failA))
			p.requireStored(t, c.storedA, c.storedB)
			require.Equal(t, c.delivered, p.delivered)
			require.Equal(t, c.dropped, p.dropped)
			require.Empty(t, p.failed)
		})
	}
}

// TestInTx_HandlersFindTheirDatabase: an InTransaction handler writes to the
// transaction that its event was published in.
func TestInTx_HandlersFindTheirDatabase(t *testing.T) {
	t.Parallel()
	p := newPair(t, newSQLite, newSQLite)
	tidings.Subscribe(p.bus, func(ctx context.Context, e InvoiceIssued) error {
		db, _ := tidings.TxDatabase(ctx)
		tx, ok := tidings.TxFrom[*sql.Tx](ctx, db)
		require.True(t, ok)
		_, err := tx.ExecContext(ctx, "INSERT INTO invoices (number) VALUES (?)", "copy of "+e.Number)
		return err
	}, tidings.InTransaction)
	require.ErrorIs(t, tidings.InTx(t.Context(), p.a, nil, func(ctx context.Context, tx *sql.Tx) error {
		require.NoError(t, p.issueIn(ctx, tx, "a"))
		require.NoError(t, tidings.InTx(ctx, p.b, nil, func(ctx context.Context, tx *sql.Tx) error {
			return p.issueIn(ctx, tx, "b")
		}))
		return errChangedMind
	}), errChangedMind)
	p.requireStored(t, nil, []string{"b", "copy of b"})
}

// TestInTx_LostTransaction: code ends the transaction without InTx, and drops the
// error of the savepoint inside it.
func TestInTx_LostTransaction(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, open newDB) {
		t.Parallel()
		p := newPair(t, open, newSQLite)
		err := tidings.InTx(t.Context(), p.a, nil, func(ctx context.Context, tx *sql.Tx) error {
			require.NoError(t, p.issueIn(ctx, tx, "A"))
			inner := tidings.InTx(ctx, p.a, nil, func(ctx context.Context, tx *sql.Tx) error {
				require.NoError(t, p.issueIn(ctx, tx, "B"))
				_, err := tx.ExecContext(ctx, "ROLLBACK")
				return err
			})
			require.ErrorContains(t, inner, "releasing the savepoint")
			require.ErrorContains(t, inner, "the transaction cannot commit")
			return nil
		})
		require.ErrorContains(t, err, "the transaction cannot commit")
		p.requireStored(t, nil, nil)
		require.Empty(t, p.delivered)
		require.Equal(t, []string{"A", "B"}, p.dropped)

		// The connection can be used.
		require.NoError(t, tidings.InTx(t.Context(), p.a, nil, func(ctx context.Context, tx *sql.Tx) error {
			return p.issueIn(ctx, tx, "C")
		}))
		p.requireStored(t, []string{"C"}, nil)
	}
	t.Run("SQLite", func(t *testing.T) { test(t, newSQLite) })
	t.Run("Postgres", func(t *testing.T) {
		testdb.Server(t)
		test(t, newPostgres)
	})
}

func TestInTx_Isolation(t *testing.T) {
	t.Parallel()
	testdb.Server(t)
	p := newPair(t, newPostgres, newSQLite)
	serializable := &sql.TxOptions{Isolation: sql.LevelSerializable}
	require.NoError(t, tidings.InTx(t.Context(), p.a, serializable, func(ctx context.Context, tx *sql.Tx) error {
		var level string
		require.NoError(t, tx.QueryRowContext(ctx, "SHOW transaction_isolation").Scan(&level))
		require.Equal(t, "serializable", level)
		require.NoError(t, tidings.InTx(ctx, p.a, serializable, func(ctx context.Context, tx *sql.Tx) error {
			return p.issueIn(ctx, tx, "A")
		}))
		require.ErrorContains(t, tidings.InTx(ctx, p.a, &sql.TxOptions{Isolation: sql.LevelRepeatableRead}, func(context.Context, *sql.Tx) error {
			return nil
		}), "isolation level")
		return p.issueIn(ctx, tx, "B")
	}))
	p.requireStored(t, []string{"A", "B"}, nil)
	require.Equal(t, []string{"A", "B"}, p.delivered)

	readOnly := &sql.TxOptions{ReadOnly: true}
	require.ErrorContains(t, tidings.InTx(t.Context(), p.a, readOnly, func(ctx context.Context, tx *sql.Tx) error {
		return p.issueIn(ctx, tx, "C")
	}), "read-only transaction")
	require.Equal(t, []string{"A", "B"}, p.delivered)
}

// TestInTx_Retrying: InTx inside a Transactor that retries, with database/sql.
func TestInTx_Retrying(t *testing.T) {
	t.Parallel()
	p := newPair(t, newSQLite, newSQLite)
	run := transactions.Retrying(tidings.SQL(p.a), 3, func(err error) bool { return errors.Is(err, errChangedMind) })
	attempts := 0
	require.NoError(t, tidings.Transact(t.Context(), run, func(ctx context.Context) error {
		attempts++
		tx, _ := tidings.TxFrom[*sql.Tx](ctx, p.a)
		require.NoError(t, p.issueIn(ctx, tx, "A"))
		require.NoError(t, tidings.InTx(ctx, p.a, nil, func(ctx context.Context, tx *sql.Tx) error {
			return p.issueIn(ctx, tx, "B")
		}))
		require.NoError(t, p.issueIn(ctx, tx, "C"))
		if attempts < 2 {
			return errChangedMind
		}
		return nil
	}))
	p.requireStored(t, []string{"A", "B", "C"}, nil)
	require.Equal(t, []string{"A", "B", "C"}, p.delivered)
	require.Equal(t, []string{"A", "B", "C"}, p.dropped)
	require.Empty(t, p.failed)
}
