package pgxtx_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // for testdb
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// noted is the event of all tests here.
type noted struct {
	tidings.DomainEvent
	N int
}

// A shop is a database with a table of numbers, and a bus that knows which numbers were
// published and what became of them.
type shop struct {
	db   pgxtx.DB
	pool *pgxpool.Pool
	bus  *tidings.EventBus

	mu                    sync.Mutex
	delivered, rolledBack []int
}

// newPool returns a pool of one connection: a handler that runs before the connection is
// given back hangs.
func newPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return poolAt(t, testdb.Postgres(t)+"&pool_max_conns=1")
}

func newShop(t *testing.T) *shop {
	t.Helper()
	pool := newPool(t)
	_, err := pool.Exec(t.Context(), `CREATE TABLE notes (n integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)`)
	require.NoError(t, err)
	s := &shop{db: pool, pool: pool, bus: tidings.New()}
	note := func(to *[]int) func(context.Context, noted) error {
		return func(_ context.Context, e noted) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			*to = append(*to, e.N)
			return nil
		}
	}
	tidings.Subscribe(s.bus, note(&s.delivered))
	tidings.Subscribe(s.bus, note(&s.rolledBack), tidings.AfterRollback)
	return s
}

// note stores n through db and publishes it.
func (s *shop) note(ctx context.Context, db pgxtx.Querier, n int) error {
	if _, err := db.Exec(ctx, `INSERT INTO notes VALUES ($1)`, n); err != nil {
		return err
	}
	return tidings.Publish(ctx, s.bus, noted{N: n})
}

func (s *shop) inTx(ctx context.Context, fn func(context.Context, pgx.Tx) error) error {
	return pgxtx.InTx(ctx, s.db, pgx.TxOptions{}, fn)
}

// requireCommitted checks that these numbers are stored and delivered, and no others.
func (s *shop) requireCommitted(t *testing.T, numbers ...int) {
	t.Helper()
	rows, err := s.pool.Query(context.Background(), `SELECT n FROM notes ORDER BY n`)
	require.NoError(t, err)
	stored, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	require.ElementsMatch(t, numbers, stored, "rows")
	s.mu.Lock()
	defer s.mu.Unlock()
	require.ElementsMatch(t, numbers, s.delivered, "events")
}

var errRefused = errors.New("refused")

func TestInTx(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.NoError(t, s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		require.Equal(t, tx, pgxtx.From(ctx, s.db))
		require.NoError(t, s.note(ctx, tx, 1))
		require.Empty(t, s.delivered)
		return s.inTx(ctx, func(ctx context.Context, tx pgx.Tx) error { return s.note(ctx, tx, 2) })
	}))
	require.ErrorIs(t, s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		require.NoError(t, s.note(ctx, tx, 3))
		return errRefused
	}), errRefused)
	require.NoError(t, s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		require.ErrorIs(t, s.inTx(ctx, func(inner context.Context, tx pgx.Tx) error {
			require.NoError(t, s.note(inner, tx, 4))
			require.NoError(t, s.note(ctx, tx, 5))
			return errRefused
		}), errRefused)
		return s.note(ctx, tx, 6)
	}))
	require.Panics(t, func() {
		_ = s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
			require.NoError(t, s.note(ctx, tx, 7))
			panic("on purpose")
		})
	})
	s.requireCommitted(t, 1, 2, 6)
	require.Equal(t, []int{3, 4, 5, 7}, s.rolledBack)
}

func TestInTxOfAPart(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]func(ctx context.Context, tx pgx.Tx, fn func(pgx.Tx) error) error{
		"BeginFunc": func(ctx context.Context, tx pgx.Tx, fn func(pgx.Tx) error) error {
			return pgx.BeginFunc(ctx, tx, fn)
		},
		"Begin": func(ctx context.Context, tx pgx.Tx, fn func(pgx.Tx) error) error {
			inner, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = inner.Rollback(ctx) }() // unless it has ended
			if err := fn(inner); err != nil {
				return err
			}
			return inner.Commit(ctx)
		},
		"statements": func(ctx context.Context, tx pgx.Tx, fn func(pgx.Tx) error) error {
			if _, err := tx.Exec(ctx, `SAVEPOINT mine`); err != nil {
				return err
			}
			failed := fn(tx)
			if failed != nil {
				if _, err := tx.Exec(ctx, `ROLLBACK TO SAVEPOINT mine`); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, `RELEASE SAVEPOINT mine`)
			return errors.Join(failed, err)
		},
		"InTx": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			if part == nil {
				part = func(ctx context.Context, _ pgx.Tx, fn func(pgx.Tx) error) error {
					return s.inTx(ctx, func(_ context.Context, tx pgx.Tx) error { return fn(tx) })
				}
			}
			// Every event is published with the context of the whole transaction.
			require.NoError(t, s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
				refuse := func(tx pgx.Tx, n int) {
					require.ErrorIs(t, part(ctx, tx, func(tx pgx.Tx) error {
						require.NoError(t, s.note(ctx, tx, n))
						return errRefused
					}), errRefused)
				}
				require.NoError(t, s.note(ctx, tx, 1))
				refuse(tx, 2)
				require.NoError(t, part(ctx, tx, func(tx pgx.Tx) error {
					refuse(tx, 3)
					require.NoError(t, s.inTx(ctx, func(_ context.Context, tx pgx.Tx) error {
						refuse(tx, 4)
						return s.note(ctx, tx, 5)
					}))
					return s.note(ctx, tx, 6)
				}))
				require.ErrorIs(t, part(ctx, tx, func(tx pgx.Tx) error {
					require.NoError(t, part(ctx, tx, func(tx pgx.Tx) error { return s.note(ctx, tx, 7) }))
					require.NoError(t, s.inTx(ctx, func(inner context.Context, tx pgx.Tx) error { return s.note(inner, tx, 8) }))
					return errRefused
				}), errRefused)
				// A statement that fails.
				require.Error(t, part(ctx, tx, func(tx pgx.Tx) error {
					require.NoError(t, s.note(ctx, tx, 9))
					_, err := tx.Exec(ctx, `SELECT 1/0`)
					return err
				}))
				return s.note(ctx, tx, 10)
			}))
			s.requireCommitted(t, 1, 5, 6, 10)
			require.Equal(t, []int{2, 3, 4, 7, 8, 9}, s.rolledBack)
		})
	}
}

// With a context that has ended, pgx neither releases a savepoint nor rolls back to it,
// and the changes stay in the transaction.
func TestPartThatIsCancelled(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	require.NoError(t, s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		for n, end := range []func(context.Context, pgx.Tx) error{
			func(ctx context.Context, part pgx.Tx) error {
				require.ErrorIs(t, part.Commit(ctx), context.Canceled)
				require.ErrorIs(t, part.Rollback(ctx), pgx.ErrTxClosed)
				return part.Commit(t.Context())
			},
			func(ctx context.Context, part pgx.Tx) error {
				require.NoError(t, part.Rollback(ctx))
				return part.Commit(ctx)
			},
		} {
			short, cancel := context.WithCancel(ctx)
			part, err := tx.Begin(short)
			require.NoError(t, err)
			require.NoError(t, s.note(short, part, n))
			cancel()
			require.ErrorIs(t, end(short, part), pgx.ErrTxClosed)
		}
		part, err := tx.Begin(ctx)
		require.NoError(t, err)
		require.NoError(t, s.note(ctx, part, 2))
		require.NoError(t, part.Commit(ctx))
		require.ErrorIs(t, part.Commit(ctx), pgx.ErrTxClosed)
		require.ErrorIs(t, part.Rollback(ctx), pgx.ErrTxClosed)
		return nil
	}))
	s.requireCommitted(t, 2)
	require.Equal(t, []int{0, 1}, s.rolledBack)
}

// A part that cannot be rolled back alone takes the whole transaction with it.
func TestPartThatCannotRollBack(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	err := s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SAVEPOINT mine`)
		require.NoError(t, err)
		part, err := tx.Begin(ctx)
		require.NoError(t, err)
		require.NoError(t, s.note(ctx, part, 1))
		_, err = tx.Exec(ctx, `RELEASE SAVEPOINT mine`) // and the one inside it
		require.NoError(t, err)
		require.ErrorContains(t, part.Rollback(ctx), "so all of the transaction is rolled back")
		return nil
	})
	require.ErrorIs(t, err, pgx.ErrTxClosed)
	s.requireCommitted(t)
}

func TestInTxIsNotCommitted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fn   func(ctx context.Context, cancel func(), tx pgx.Tx) error
		want string
	}{
		"a failed statement was swallowed": {func(ctx context.Context, _ func(), tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT 1/0`)
			require.Error(t, err)
			return nil
		}, "rollback"},
		"deferred constraint": {func(ctx context.Context, _ func(), tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO notes VALUES (2), (2)`)
			require.NoError(t, err)
			return nil
		}, "duplicate key"},
		"cancelled": {func(_ context.Context, cancel func(), _ pgx.Tx) error {
			cancel()
			return nil
		}, context.Canceled.Error()},
		"cancelled in a statement": {func(ctx context.Context, cancel func(), tx pgx.Tx) error {
			cancel()
			_, err := tx.Exec(ctx, `SELECT 1`)
			return err
		}, context.Canceled.Error()},
		"rolled back": {func(ctx context.Context, _ func(), tx pgx.Tx) error {
			return tx.Rollback(ctx)
		}, "tx is closed"},
		"connection lost": {func(ctx context.Context, _ func(), tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return nil
		}, "commit"},
		"connection lost, and noticed": {func(ctx context.Context, _ func(), tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		}, "terminating connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := s.inTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
				require.NoError(t, s.note(ctx, tx, 1))
				require.ErrorContains(t, tx.Commit(ctx), "commits when its function returns nil")
				return tt.fn(ctx, cancel, tx)
			})
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "\n", "one error")
			if ctx.Err() != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
			s.requireCommitted(t)
			require.Equal(t, []int{1}, s.rolledBack)
			require.NoError(t, s.inTx(t.Context(), func(ctx context.Context, tx pgx.Tx) error { return s.note(ctx, tx, 2) }))
			s.requireCommitted(t, 2)
		})
	}
}

func TestInTxWithOptions(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	serializable := pgx.TxOptions{IsoLevel: pgx.Serializable}
	require.NoError(t, pgxtx.InTx(t.Context(), s.db, serializable, func(ctx context.Context, tx pgx.Tx) error {
		var level string
		require.NoError(t, tx.QueryRow(ctx, `SHOW transaction_isolation`).Scan(&level))
		require.Equal(t, "serializable", level)
		require.NoError(t, pgxtx.InTx(ctx, s.db, serializable, nothing))
		require.NoError(t, pgxtx.InTx(ctx, s.db, pgx.TxOptions{}, nothing))
		require.EqualError(t, pgxtx.InTx(ctx, s.db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, nothing),
			`pgxtx: InTx with isolation level "repeatable read" inside a transaction with "serializable": a savepoint cannot change it`)
		return nil
	}))
	require.ErrorContains(t, pgxtx.InTx(t.Context(), s.db, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(ctx context.Context, tx pgx.Tx) error {
		return s.note(ctx, tx, 1)
	}), "read-only")
	require.ErrorContains(t, pgxtx.InTx(t.Context(), s.db, pgx.TxOptions{IsoLevel: "none"}, nothing), "tidings: begin: ")
	require.EqualError(t, pgxtx.InTx(t.Context(), nil, serializable, nothing), "pgxtx: InTx with a nil database or function")
	require.EqualError(t, pgxtx.InTx(t.Context(), s.db, serializable, nil), "pgxtx: InTx with a nil database or function")
	require.Panics(t, func() { pgxtx.Transactor(nil) })
}

// A connection of its own is a database of its own.
func TestInTxOnAConnection(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for n, open := range []func() (pgxtx.DB, func()){
		func() (pgxtx.DB, func()) {
			conn, err := s.pool.Acquire(t.Context())
			require.NoError(t, err)
			return conn, conn.Release
		},
		func() (pgxtx.DB, func()) {
			conn, err := pgx.ConnectConfig(t.Context(), s.pool.Config().ConnConfig)
			require.NoError(t, err)
			return conn, func() { require.NoError(t, conn.Close(context.Background())) }
		},
	} {
		db, end := open()
		require.NoError(t, pgxtx.InTx(t.Context(), db, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			require.Equal(t, tx, pgxtx.From(ctx, db))
			require.Equal(t, pgxtx.Querier(s.pool), pgxtx.From(ctx, s.db))
			return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { return s.note(ctx, tx, n) })
		}))
		end()
	}
	s.requireCommitted(t, 0, 1)
}

func TestTwoPools(t *testing.T) {
	t.Parallel()
	s, other := newShop(t), newShop(t)
	require.ErrorIs(t, s.inTx(t.Context(), func(outer context.Context, tx pgx.Tx) error {
		require.NoError(t, s.note(outer, tx, 1))
		require.NoError(t, other.inTx(outer, func(ctx context.Context, tx2 pgx.Tx) error {
			require.Equal(t, tx, pgxtx.From(ctx, s.db))
			require.Equal(t, tx2, pgxtx.From(ctx, other.db))
			return other.note(ctx, tx2, 2)
		}))
		other.requireCommitted(t, 2)
		require.Equal(t, pgxtx.Querier(other.pool), pgxtx.From(outer, other.db))
		return errRefused
	}), errRefused)
	s.requireCommitted(t)
}

// Code that begins by hand and code with InTx nest in either order.
func TestByHand(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	run := func(end error) error {
		ctx, hook := tidings.NewTxHook(t.Context(), s.pool)
		defer hook.Rollback(ctx)
		tx, err := s.pool.Begin(ctx)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback(ctx) }() // unless it has ended
		ctx = tidings.WithTx(ctx, s.pool, tx)
		require.NoError(t, s.note(ctx, tx, 1))
		require.NoError(t, s.inTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			require.ErrorIs(t, pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				require.NoError(t, s.note(ctx, tx, 2))
				return errRefused
			}), errRefused)
			return s.note(ctx, tx, 3)
		}))
		if end != nil {
			return end
		}
		require.NoError(t, hook.Prepare(ctx))
		require.NoError(t, tx.Commit(ctx))
		return hook.Commit(ctx)
	}
	require.ErrorIs(t, run(errRefused), errRefused)
	s.requireCommitted(t)
	require.NoError(t, run(nil))
	s.requireCommitted(t, 1, 3)

	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	require.ErrorContains(t, s.inTx(tidings.WithTx(t.Context(), s.pool, tx), nothing), "added by WithTx without NewTxHook")
	require.NoError(t, tx.Rollback(t.Context()))
	ctx, hook := tidings.NewTxHook(t.Context(), s.pool)
	require.ErrorContains(t, s.inTx(ctx, nothing), "whose pgx.Tx is not in ctx")
	hook.Rollback(ctx)
}

func nothing(context.Context, pgx.Tx) error { return nil }

// In the transaction of a test, InTx sets a savepoint.
func TestInATestsTransaction(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, tidingstest.Commit(t.Context(), s.pool, tx, func(ctx context.Context) error {
		require.NotEqual(t, pgxtx.Querier(s.pool), pgxtx.From(ctx, s.db))
		require.ErrorIs(t, s.inTx(ctx, func(ctx context.Context, tx pgx.Tx) error {
			require.NoError(t, s.note(ctx, tx, 1))
			return errRefused
		}), errRefused)
		return s.inTx(ctx, func(ctx context.Context, tx pgx.Tx) error { return s.note(ctx, tx, 2) })
	}))
	require.Equal(t, []int{2}, s.delivered)
	require.NoError(t, tx.Rollback(t.Context()))
	s.delivered = nil
	s.requireCommitted(t)
}
