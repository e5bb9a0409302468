package txtest_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
)

func TestInTx(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		inCtx, ok := tidings.TxFrom[*sql.Tx](ctx, r.DB)
		require.True(t, ok)
		require.Same(t, tx, inCtx)
		r.MustPublish(ctx, t, 1)
		_, err := tx.ExecContext(ctx, "INSERT")
		return errors.Join(err, r.Publish(ctx, 2))
	}))
	require.Equal(t, []string{"I1", "INSERT", "I2", "B1", "B2", "C1", "C2"}, r.SQL.Committed())
	require.Equal(t, []string{"BEGIN", "I1", "INSERT", "I2", "B1", "B2", "COMMIT", "C1", "C2"}, r.Statements())

	require.Equal(t, txtest.ErrTx, r.InTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		r.MustPublish(ctx, t, 3, 4)
		return txtest.ErrTx
	}))
	require.Equal(t, []string{"BEGIN", "I3", "I4", "ROLLBACK", "R3", "R4"}, r.Statements())
	require.Empty(t, r.Reported())
}

func TestInTxOptions(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	noop := func(context.Context, *sql.Tx) error { return nil }
	require.NoError(t, tidings.InTx(t.Context(), r.DB, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true}, noop))
	require.Equal(t, []string{"BEGIN SERIALIZABLE READ ONLY", "COMMIT"}, r.Statements())

	require.ErrorContains(t, tidings.InTx(t.Context(), nil, nil, noop), "nil database")
	require.ErrorContains(t, tidings.InTx(t.Context(), r.DB, nil, nil), "nil")
	require.Empty(t, r.Statements())
}

func TestInTxRollbackFails(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	r.SQL.Fail("ROLLBACK", errors.New("connection lost"))
	err := r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return errors.Join(r.Publish(ctx, 1), txtest.ErrTx)
	})
	require.ErrorIs(t, err, txtest.ErrTx)
	require.ErrorContains(t, err, "tidings: InTx: rollback: connection lost")
	require.Contains(t, r.Statements(), "R1")
}

func TestInTxPanics(t *testing.T) {
	t.Parallel()
	value := &struct{ reason string }{"unique"}
	r := txtest.NewSQLRig(t)
	func() {
		defer func() { require.Same(t, value, recover()) }()
		_ = r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.MustPublish(ctx, t, 1)
				panic(value)
			})
		})
	}()
	require.Equal(t, []string{
		"BEGIN", "SAVEPOINT tidings_1", "I1", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "ROLLBACK", "R1",
	}, r.Statements())
}

func TestInTxGoexit(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	txtest.InGoroutine(func() {
		_ = r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.MustPublish(ctx, t, 1)
				runtime.Goexit()
				return nil
			})
		})
		t.Error("InTx returned")
	})
	require.Equal(t, []string{
		"BEGIN", "SAVEPOINT tidings_1", "I1", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "ROLLBACK", "R1",
	}, r.Statements())
}

func TestInTxCancelled(t *testing.T) {
	t.Parallel()
	t.Run("before it begins", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, r.InTx(ctx, func(context.Context, *sql.Tx) error { t.Error("called"); return nil }), context.Canceled)
		require.Empty(t, r.Statements())
	})
	t.Run("before the commit", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			defer cancel()
			return r.Publish(ctx, 1)
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, []string{"BEGIN", "I1", "ROLLBACK", "R1"}, r.Statements())
		require.Empty(t, r.Reported())
	})
	t.Run("before the commit, and noticed", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, r.InTx(ctx, func(_ context.Context, tx *sql.Tx) error {
			cancel()
			_ = tx.Rollback() // as database/sql does soon, in another goroutine
			return nil
		}), context.Canceled)
		require.Equal(t, []string{"BEGIN", "ROLLBACK"}, r.Statements())
	})
	t.Run("at the commit", func(t *testing.T) {
		t.Parallel()
		// The client hangs up between commit and delivery.
		r := txtest.NewSQLRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.SQL.On("COMMIT", func() error { cancel(); return nil })
		require.NoError(t, r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 1) }))
		require.Equal(t, []string{"BEGIN", "I1", "B1", "COMMIT", "C1"}, r.Statements())
		require.Empty(t, r.Reported(), "a committed event is not lost")
	})
	t.Run("the inner scope alone", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			r.MustPublish(ctx, t, 1)
			inner, cancel := context.WithCancel(ctx)
			require.ErrorIs(t, r.InTx(inner, func(ctx context.Context, _ *sql.Tx) error {
				defer cancel()
				return r.Publish(ctx, 2)
			}), context.Canceled)
			return nil
		}), "the outer transaction goes on without it")
		require.Equal(t, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
			"B1", "COMMIT", "C1", "R2",
		}, r.Statements())
	})
}

func TestInTxEndedByItsOwnFunction(t *testing.T) {
	t.Parallel()
	// fn must not end the transaction. If it does, InTx cannot tell whether the
	// transaction was committed, so its events count as rolled back.
	for _, tt := range []struct {
		name string
		end  func(*sql.Tx) error
	}{{"commit", (*sql.Tx).Commit}, {"rollback", (*sql.Tx).Rollback}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := txtest.NewRig()
			r.On(tidings.AfterCommit, "C", nil)
			r.On(tidings.AfterRollback, "R", nil)
			db, _ := fakedb.Open(t)
			err := tidings.InTx(t.Context(), db, nil, func(ctx context.Context, tx *sql.Tx) error {
				return errors.Join(r.Publish(ctx, 1), tt.end(tx))
			})
			require.ErrorIs(t, err, sql.ErrTxDone)
			require.Equal(t, "R1", r.Log())
		})
	}
}

func TestInTxAndTransactNested(t *testing.T) {
	t.Parallel()
	t.Run("Transact in InTx", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			require.ErrorIs(t, tidings.Transact(ctx, onDB(r), func(ctx context.Context) error {
				r.MustPublish(ctx, t, 1)
				return txtest.ErrTx
			}), txtest.ErrTx)
			return tidings.Transact(ctx, onDB(r), func(ctx context.Context) error {
				// In the scope of Transact, which is in that of InTx.
				return r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 2) })
			})
		}))
		require.Equal(t, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "B2", "COMMIT", "R1", "C2",
		}, r.Statements())
	})
	t.Run("a failing Transact around the inner InTx", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			require.ErrorIs(t, tidings.Transact(ctx, onDB(r), func(ctx context.Context) error {
				require.NoError(t, r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 1) }))
				return txtest.ErrTx
			}), txtest.ErrTx)
			return nil
		}))
		require.Equal(t, []string{"BEGIN", "SAVEPOINT tidings_1", "I1", "RELEASE SAVEPOINT tidings_1", "COMMIT", "R1"}, r.Statements())
	})
	t.Run("InTx in a Transact of another library", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		require.NoError(t, tidings.Transact(t.Context(), txtest.Bare, func(ctx context.Context) error {
			require.NoError(t, r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 1) }))
			require.Equal(t, []string{"BEGIN", "I1", "B1", "COMMIT", "C1"}, r.Statements(), "a transaction of its own")
			return nil
		}))
	})
	t.Run("Begin in InTx", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			inner, hook := tidings.NewTxHook(ctx, r.DB)
			r.MustPublish(inner, t, 1)
			hook.Rollback(inner)
			inner, hook = tidings.NewTxHook(ctx, r.DB)
			r.MustPublish(inner, t, 2)
			return hook.Commit(inner)
		}))
		require.Equal(t, []string{"BEGIN", "I1", "I2", "B2", "COMMIT", "R1", "C2"}, r.Statements())
	})
	t.Run("InTx in a Transact that does not show its *sql.Tx", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		require.ErrorContains(t, tidings.Transact(t.Context(), onDB(r), func(ctx context.Context) error {
			return r.InTx(ctx, func(context.Context, *sql.Tx) error { return nil })
		}), "tidings: InTx inside a transaction of this database whose *sql.Tx is not in ctx")
		require.Empty(t, r.Statements())
	})
	t.Run("InTx after Begin and WithTx alone", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		tx, err := r.DB.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		require.ErrorContains(t, r.InTx(tidings.WithTx(t.Context(), r.DB, tx), func(context.Context, *sql.Tx) error { return nil }),
			"tidings: InTx with a *sql.Tx of this database in ctx, added by WithTx without NewTxHook")
		require.NoError(t, tx.Rollback())
	})
	t.Run("InTx after Begin, WithTx and NewTxHook", func(t *testing.T) {
		t.Parallel()
		r := txtest.NewSQLRig(t)
		tx, err := r.DB.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		ctx, hook := tidings.NewTxHook(t.Context(), r.DB)
		ctx = tidings.WithTx(ctx, r.DB, tx)
		require.NoError(t, r.InTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.Publish(ctx, 1) }))
		require.NoError(t, hook.Prepare(ctx))
		require.NoError(t, tx.Commit())
		require.NoError(t, hook.Commit(ctx))
		require.Equal(t, []string{"BEGIN", "SAVEPOINT tidings_1", "I1", "RELEASE SAVEPOINT tidings_1", "B1", "COMMIT", "C1"}, r.Statements())
	})
}

// onDB is the shortest Transactor of a rig's database.
func onDB(r *txtest.SQLRig) tidings.Transactor {
	return tidings.Transactor{DB: r.DB, Run: txtest.Bare.Run}
}

func TestInTxInHandlers(t *testing.T) {
	t.Parallel()
	// Handlers use InTx without knowing whether they are in a transaction.
	r := txtest.NewSQLRig(t)
	for _, phase := range allPhases {
		tidings.Subscribe(r.Bus, func(ctx context.Context, e txtest.Other) error {
			return r.InTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, phase.String()); err != nil {
					return err
				}
				return r.Publish(ctx, int(phase))
			})
		}, phase)
	}
	require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return tidings.Publish(ctx, r.Bus, txtest.Other{})
	}))
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_1", "InTransaction", "I1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "BeforeCommit", "I2", "RELEASE SAVEPOINT tidings_2",
		"B1", "B2",
		"COMMIT",
		"BEGIN", "AfterCommit", "I0", "B0", "COMMIT", "C0",
		"C1", "C2",
	}, r.Statements())

	require.ErrorIs(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return errors.Join(tidings.Publish(ctx, r.Bus, txtest.Other{}), txtest.ErrTx)
	}), txtest.ErrTx)
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_3", "InTransaction", "I1", "RELEASE SAVEPOINT tidings_3",
		"ROLLBACK",
		"BEGIN", "AfterRollback", "I3", "B3", "COMMIT", "C3",
		"R1",
	}, r.Statements())
	require.Empty(t, r.Reported())
}

func TestInTxFinished(t *testing.T) {
	t.Parallel()
	r := txtest.NewSQLRig(t)
	var done context.Context
	require.NoError(t, r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error { done = ctx; return nil }))
	r.Statements()
	require.ErrorIs(t, r.InTx(done, func(context.Context, *sql.Tx) error { t.Error("called"); return nil }), tidings.ErrTxDone)
	require.ErrorIs(t, r.Publish(done, 1), tidings.ErrTxDone)
	other, log := fakedb.Open(t)
	require.ErrorIs(t, tidings.InTx(done, other, nil, func(context.Context, *sql.Tx) error { t.Error("called"); return nil }), tidings.ErrTxDone)
	require.Empty(t, r.Statements())
	require.Empty(t, log.Statements())
}

func TestInTxFromManyGoroutines(t *testing.T) {
	t.Parallel()
	// One connection, many transactions, every other of which fails.
	const goroutines, each = 8, 25
	r := txtest.NewSQLRig(t)
	done := make(chan struct{}, goroutines)
	for g := range goroutines {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range each {
				end := error(nil)
				if i%2 == 1 {
					end = txtest.ErrTx
				}
				err := r.InTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
					return errors.Join(r.Publish(ctx, g), end)
				})
				if !errors.Is(err, end) {
					t.Errorf("want %v, got %v", end, err)
				}
			}
		}()
	}
	for range goroutines {
		<-done
	}
	count := map[string]int{}
	for _, s := range r.Statements() {
		count[s[:1]]++
	}
	const committed, rolledBack = goroutines * (each + 1) / 2, goroutines * (each - 1) / 2
	require.Equal(t, committed+rolledBack, count["I"])
	require.Equal(t, 2*committed, count["C"], "COMMIT, and the handler")
	require.Equal(t, 2*rolledBack, count["R"], "ROLLBACK, and the handler")
	require.Empty(t, r.Reported())
}
