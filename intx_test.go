package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/fakedb"
)

// A sqlRig is a bus whose handlers write their words into a database, which
// has one connection: I and B into the transaction that they are in, C and R
// into the database itself. So its log tells the order of everything, and a
// handler that runs before the connection is back in the pool hangs.
type sqlRig struct {
	*txRig
	db  *sql.DB
	sql *fakedb.Log
}

func newSQLRig(t *testing.T) *sqlRig {
	r := &sqlRig{txRig: newTxRig()}
	r.db, r.sql = fakedb.Open(t)
	r.db.SetMaxOpenConns(1)
	for phase, word := range map[tidings.Phase]string{tidings.InTransaction: "I", tidings.BeforeCommit: "B"} {
		tidings.Subscribe(r.bus, func(ctx context.Context, e txEvent) error {
			tx, ok := tidings.TxFrom[*sql.Tx](ctx)
			if !ok {
				return errors.New("not in a transaction")
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf("%s%d", word, e.N))
			return err
		}, phase)
	}
	for phase, word := range map[tidings.Phase]string{tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
		tidings.Subscribe(r.bus, func(ctx context.Context, e txEvent) error {
			if _, ok := tidings.TxFrom[*sql.Tx](ctx); ok {
				return errors.New("in a transaction")
			}
			_, err := r.db.ExecContext(ctx, fmt.Sprintf("%s%d", word, e.N))
			return err
		}, phase)
	}
	return r
}

func (r *sqlRig) inTx(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	return tidings.InTx(ctx, r.db, nil, fn)
}

// statements returns what reached the database so far, and forgets it.
func (r *sqlRig) statements() []string {
	defer r.sql.Reset()
	return r.sql.Statements()
}

func TestInTx(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	r := newSQLRig(t)
	require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		inCtx, ok := tidings.TxFrom[*sql.Tx](ctx)
		require.True(t, ok)
		require.Same(t, tx, inCtx)
		r.mustPublish(ctx, t, 1)
		_, err := tx.ExecContext(ctx, "INSERT")
		return errors.Join(err, r.publish(ctx, 2))
	}))
	require.Equal(t, []string{"I1", "INSERT", "I2", "B1", "B2", "C1", "C2"}, r.sql.Committed())
	require.Equal(t, []string{"BEGIN", "I1", "INSERT", "I2", "B1", "B2", "COMMIT", "C1", "C2"}, r.statements())

	require.Equal(t, errTx, r.inTx(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		r.mustPublish(ctx, t, 3, 4)
		return errTx
	}))
	require.Equal(t, []string{"BEGIN", "I3", "I4", "ROLLBACK", "R3", "R4"}, r.statements())
	require.Empty(t, r.reported())
}

func TestInTxOptions(t *testing.T) {
	t.Parallel()
	r := newSQLRig(t)
	noop := func(context.Context, *sql.Tx) error { return nil }
	require.NoError(t, tidings.InTx(t.Context(), r.db, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true}, noop))
	require.Equal(t, []string{"BEGIN SERIALIZABLE READ ONLY", "COMMIT"}, r.statements())

	require.ErrorContains(t, tidings.InTx(t.Context(), nil, nil, noop), "nil database")
	require.ErrorContains(t, tidings.InTx(t.Context(), r.db, nil, nil), "nil")
	require.Empty(t, r.statements())
}

func TestInTxNested(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		inner, outer error
		want         []string
	}{
		"both succeed": {nil, nil, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3",
			"B1", "B2", "B3", "COMMIT", "C1", "C2", "C3",
		}},
		"the inner fails": {errTx, nil, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "I3",
			"B1", "B3", "COMMIT", "C1", "R2", "C3",
		}},
		"the outer fails": {nil, errTx, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3",
			"ROLLBACK", "R1", "R2", "R3",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeLimit(t)
			r := newSQLRig(t)
			require.ErrorIs(t, r.inTx(t.Context(), func(ctx context.Context, outer *sql.Tx) error {
				r.mustPublish(ctx, t, 1)
				require.ErrorIs(t, r.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
					require.Same(t, outer, tx)
					r.mustPublish(ctx, t, 2)
					return c.inner
				}), c.inner)
				r.mustPublish(ctx, t, 3)
				return c.outer
			}), c.outer)
			require.Equal(t, c.want, r.statements())
			require.Empty(t, r.reported())
		})
	}
}

func TestInTxNestedDeeply(t *testing.T) {
	t.Parallel()
	r := newSQLRig(t)
	require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		require.ErrorIs(t, r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			require.NoError(t, r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.publish(ctx, 1) }))
			return errTx
		}), errTx)
		return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.publish(ctx, 2) })
		})
	}))
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_1", "SAVEPOINT tidings_2", "I1", "RELEASE SAVEPOINT tidings_2",
		"ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_3", "SAVEPOINT tidings_4", "I2", "RELEASE SAVEPOINT tidings_4", "RELEASE SAVEPOINT tidings_3",
		"B2", "COMMIT", "R1", "C2",
	}, r.statements())
}

func TestInTxStatementsFail(t *testing.T) {
	t.Parallel()
	errDB := errors.New("disk full")
	for _, c := range []struct {
		statement string // fails
		inner     error  // what the inner scope returns
		innerErr  string // is in what the inner InTx returns
		outerErr  string // is in what the outer InTx returns, which swallows that
		want      []string
		reason    string
	}{
		{
			"BEGIN", nil, "", "tidings: InTx: begin: disk full",
			[]string{"BEGIN"}, "there is no transaction",
		}, {
			"COMMIT", nil, "", "tidings: InTx: commit: disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3", "B1", "B2", "B3", "COMMIT", "R1", "R2", "R3"},
			"not known to be committed",
		}, {
			"SAVEPOINT", nil, "setting a savepoint: disk full", "",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I3", "B1", "B3", "COMMIT", "C1", "C3"},
			"a driver without savepoints: the scope does not begin",
		}, {
			"RELEASE", nil, "releasing the savepoint: disk full", "",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1",
				"ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "I3", "B1", "B3", "COMMIT", "C1", "R2", "C3"},
			"the scope counts as rolled back, so it is rolled back",
		}, {
			"ROLLBACK TO", errTx, "out of stock", "rolling back to a savepoint failed, so the transaction cannot commit: disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "I3", "B1", "B3", "ROLLBACK", "R1", "R2", "R3"},
			"what the inner scope wrote is still there",
		}, {
			"ROLLBACK TO", errTx, "cannot commit: disk full", "cannot commit: disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "I3", "B1", "B3", "ROLLBACK", "R1", "R2", "R3"},
			"the inner InTx says both",
		}, {
			"I2", nil, "disk full", "",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
				"I3", "B1", "B3", "COMMIT", "C1", "R2", "C3"},
			"an InTransaction handler",
		}, {
			"B2", nil, "", "disk full",
			[]string{"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "I3", "B1", "B2", "ROLLBACK", "R1", "R2", "R3"},
			"a BeforeCommit handler",
		},
	} {
		t.Run(c.statement, func(t *testing.T) {
			t.Parallel()
			timeLimit(t)
			r := newSQLRig(t)
			r.sql.Fail(c.statement, errDB)
			check := func(err error, text string) {
				t.Helper()
				if text == "" {
					require.NoError(t, err, c.reason)
				} else {
					require.ErrorContains(t, err, text, c.reason)
				}
			}
			check(r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
				r.mustPublish(ctx, t, 1)
				check(r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
					return errors.Join(r.publish(ctx, 2), c.inner)
				}), c.innerErr)
				r.mustPublish(ctx, t, 3)
				return nil
			}), c.outerErr)
			require.Equal(t, c.want, r.statements(), c.reason)
			require.Empty(t, r.reported())
		})
	}
}

func TestInTxRollbackFails(t *testing.T) {
	t.Parallel()
	r := newSQLRig(t)
	r.sql.Fail("ROLLBACK", errors.New("connection lost"))
	err := r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return errors.Join(r.publish(ctx, 1), errTx)
	})
	require.ErrorIs(t, err, errTx)
	require.ErrorContains(t, err, "tidings: InTx: rollback: connection lost")
	require.Contains(t, r.statements(), "R1")
}

func TestInTxDoomedBelowAnotherSavepoint(t *testing.T) {
	t.Parallel()
	// The savepoint that cannot be rolled back to lies two scopes deep, the
	// fn of the middle scope swallows the error, and it was a panic.
	r := newSQLRig(t)
	r.sql.Fail("ROLLBACK TO", errors.New("disk full"))
	err := r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			require.PanicsWithValue(t, "boom", func() {
				_ = r.inTx(ctx, func(context.Context, *sql.Tx) error { panic("boom") })
			})
			return r.publish(ctx, 1)
		})
	})
	require.ErrorContains(t, err, "cannot commit: disk full")
	require.Equal(t, []string{
		"BEGIN", "SAVEPOINT tidings_1", "SAVEPOINT tidings_2", "ROLLBACK TO SAVEPOINT tidings_2", "I1", "RELEASE SAVEPOINT tidings_1",
		"B1", "ROLLBACK", "R1",
	}, r.statements())
}

func TestInTxDoomedInATransactionOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	// It is the transaction around the savepoint that cannot commit, and no
	// other: neither one further out nor one that begins later.
	r := newSQLRig(t)
	other, log := fakedb.Open(t)
	overInTx := func(ctx context.Context, body func(context.Context) error) error {
		return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return body(ctx) })
	}
	r.sql.Fail("ROLLBACK TO", errors.New("disk full"))
	require.NoError(t, tidings.InTx(t.Context(), other, nil, func(ctx context.Context, _ *sql.Tx) error {
		err := tidings.Transact(ctx, overInTx, func(ctx context.Context) error {
			require.ErrorIs(t, r.inTx(ctx, func(context.Context, *sql.Tx) error { return errTx }), errTx)
			return nil
		})
		require.ErrorContains(t, err, "cannot commit: disk full")
		return nil
	}))
	require.Equal(t, []string{"BEGIN", "SAVEPOINT tidings_1", "ROLLBACK TO SAVEPOINT tidings_1", "ROLLBACK"}, r.statements())
	require.Equal(t, []string{"BEGIN", "COMMIT"}, log.Statements())
}

func TestInTxPanics(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	value := &struct{ reason string }{"unique"}
	r := newSQLRig(t)
	func() {
		defer func() { require.Same(t, value, recover()) }()
		_ = r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.mustPublish(ctx, t, 1)
				panic(value)
			})
		})
	}()
	require.Equal(t, []string{
		"BEGIN", "SAVEPOINT tidings_1", "I1", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "ROLLBACK", "R1",
	}, r.statements())
}

func TestInTxGoexit(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	r := newSQLRig(t)
	inGoroutine(func() {
		_ = r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
				r.mustPublish(ctx, t, 1)
				runtime.Goexit()
				return nil
			})
		})
		t.Error("InTx returned")
	})
	require.Equal(t, []string{
		"BEGIN", "SAVEPOINT tidings_1", "I1", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1", "ROLLBACK", "R1",
	}, r.statements())
}

func TestInTxCancelled(t *testing.T) {
	t.Parallel()
	t.Run("before it begins", func(t *testing.T) {
		t.Parallel()
		r := newSQLRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, r.inTx(ctx, func(context.Context, *sql.Tx) error { t.Error("called"); return nil }), context.Canceled)
		require.Empty(t, r.statements())
	})
	t.Run("before the commit", func(t *testing.T) {
		t.Parallel()
		timeLimit(t)
		r := newSQLRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error {
			defer cancel()
			return r.publish(ctx, 1)
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, []string{"BEGIN", "I1", "ROLLBACK", "R1"}, r.statements())
		require.Empty(t, r.reported())
	})
	t.Run("at the commit", func(t *testing.T) {
		t.Parallel()
		timeLimit(t)
		// The client hangs up between commit and delivery.
		r := newSQLRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.sql.On("COMMIT", func() error { cancel(); return nil })
		require.NoError(t, r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.publish(ctx, 1) }))
		require.Equal(t, []string{"BEGIN", "I1", "B1", "COMMIT", "C1"}, r.statements())
		require.Empty(t, r.reported(), "a committed event is not lost")
	})
	t.Run("the inner scope alone", func(t *testing.T) {
		t.Parallel()
		timeLimit(t)
		r := newSQLRig(t)
		require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			r.mustPublish(ctx, t, 1)
			inner, cancel := context.WithCancel(ctx)
			require.ErrorIs(t, r.inTx(inner, func(ctx context.Context, _ *sql.Tx) error {
				defer cancel()
				return r.publish(ctx, 2)
			}), context.Canceled)
			return nil
		}), "the outer transaction goes on without it")
		require.Equal(t, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
			"B1", "COMMIT", "C1", "R2",
		}, r.statements())
	})
}

func TestInTxEndedByItsOwnFunction(t *testing.T) {
	t.Parallel()
	// It is not for fn to end the transaction. If it does, what follows is
	// not known to be committed.
	for name, end := range map[string]func(*sql.Tx) error{"commit": (*sql.Tx).Commit, "rollback": (*sql.Tx).Rollback} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newTxRig()
			r.on(tidings.AfterCommit, "C", nil)
			r.on(tidings.AfterRollback, "R", nil)
			db, _ := fakedb.Open(t)
			err := tidings.InTx(t.Context(), db, nil, func(ctx context.Context, tx *sql.Tx) error {
				return errors.Join(r.publish(ctx, 1), end(tx))
			})
			require.ErrorIs(t, err, sql.ErrTxDone)
			require.Equal(t, "R1", r.log())
		})
	}
}

func TestInTxOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b error
		want string
	}{
		"both commit": {nil, nil, "BEGIN@a BEGIN@b COMMIT@b C2 COMMIT@a C1 C3"},
		"b fails":     {nil, errTx, "BEGIN@a BEGIN@b ROLLBACK@b R2 COMMIT@a C1 C3"},
		"a fails":     {errTx, nil, "BEGIN@a BEGIN@b COMMIT@b C2 ROLLBACK@a R1 R3"},
		"both fail":   {errTx, errTx, "BEGIN@a BEGIN@b ROLLBACK@b R2 ROLLBACK@a R1 R3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, a, b := newTwoDBs(t)
			require.ErrorIs(t, tidings.InTx(t.Context(), a, nil, func(ctx context.Context, ofA *sql.Tx) error {
				r.mustPublish(ctx, t, 1)
				require.ErrorIs(t, tidings.InTx(ctx, b, nil, func(ctx context.Context, ofB *sql.Tx) error {
					require.NotSame(t, ofA, ofB)
					got, _ := tidings.TxFrom[*sql.Tx](ctx)
					require.Same(t, ofB, got)
					r.mustPublish(ctx, t, 2)
					return c.b
				}), c.b)
				r.mustPublish(ctx, t, 3)
				return c.a
			}), c.a)
			require.Equal(t, c.want, r.log())
		})
	}
}

// newTwoDBs returns databases that note their statements in one log, with
// handlers after commit and rollback.
func newTwoDBs(t *testing.T) (r *txRig, a, b *sql.DB) {
	r = newTxRig()
	for name, db := range map[string]**sql.DB{"a": &a, "b": &b} {
		var log *fakedb.Log
		*db, log = fakedb.Open(t)
		(*db).SetMaxOpenConns(1)
		for _, s := range []string{"BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK TO", "ROLLBACK"} {
			log.On(s, func() error { r.note("%s@%s", s, name); return nil })
		}
	}
	for phase, word := range map[tidings.Phase]string{tidings.AfterCommit: "C", tidings.AfterRollback: "R"} {
		r.on(phase, word, func(ctx context.Context, _ txEvent) error {
			if _, ok := tidings.TxFrom[*sql.Tx](ctx); ok {
				return errors.New("in a transaction")
			}
			return nil
		})
	}
	t.Cleanup(func() { require.Empty(t, r.reported()) })
	return r, a, b
}

func TestInTxOfTwoDatabasesInTurn(t *testing.T) {
	t.Parallel()
	nest := func(r *txRig, ctx context.Context, n int, ends map[int]error, dbs ...*sql.DB) error {
		var scope func(ctx context.Context, i int) error
		scope = func(ctx context.Context, i int) error {
			return tidings.InTx(ctx, dbs[i], nil, func(ctx context.Context, _ *sql.Tx) error {
				if err := r.publish(ctx, n+i); err != nil {
					return err
				}
				if i+1 < len(dbs) {
					if err := scope(ctx, i+1); !errors.Is(err, ends[i+1]) {
						return fmt.Errorf("scope %d: %w", i+1, err)
					}
				}
				return ends[i]
			})
		}
		return scope(ctx, 0)
	}
	t.Run("a b a", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, nil, a, b, a))
		require.Equal(t, "BEGIN@a BEGIN@b SAVEPOINT@a RELEASE@a COMMIT@b C2 COMMIT@a C1 C3", r.log())
	})
	t.Run("a b a, b fails", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, map[int]error{1: errTx}, a, b, a))
		require.Equal(t, "BEGIN@a BEGIN@b SAVEPOINT@a RELEASE@a ROLLBACK@b R2 COMMIT@a C1 C3", r.log(),
			"what the inner scope of a did is part of a alone")
	})
	t.Run("a b a, the inner a fails", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, map[int]error{2: errTx}, a, b, a))
		require.Equal(t, "BEGIN@a BEGIN@b SAVEPOINT@a ROLLBACK TO@a RELEASE@a COMMIT@b C2 COMMIT@a C1 R3", r.log())
	})
	t.Run("a a b a b, in the middle fails", func(t *testing.T) {
		t.Parallel()
		r, a, b := newTwoDBs(t)
		require.NoError(t, nest(r, t.Context(), 1, map[int]error{1: errTx}, a, a, b, a, b))
		require.Equal(t, "BEGIN@a SAVEPOINT@a BEGIN@b SAVEPOINT@a SAVEPOINT@b RELEASE@b RELEASE@a COMMIT@b C3 C5 "+
			"ROLLBACK TO@a RELEASE@a COMMIT@a C1 R2 R4", r.log(), "takes along the scope of a inside of it, and nothing of b")
	})
}

func TestInTxAndTransactNested(t *testing.T) {
	t.Parallel()
	t.Run("Transact in InTx", func(t *testing.T) {
		t.Parallel()
		r := newSQLRig(t)
		require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			require.ErrorIs(t, tidings.Transact(ctx, bare, func(ctx context.Context) error {
				r.mustPublish(ctx, t, 1)
				return errTx
			}), errTx)
			return tidings.Transact(ctx, bare, func(ctx context.Context) error {
				// In the scope of Transact, which is in that of InTx.
				return r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.publish(ctx, 2) })
			})
		}))
		require.Equal(t, []string{
			"BEGIN", "I1", "SAVEPOINT tidings_1", "I2", "RELEASE SAVEPOINT tidings_1", "B2", "COMMIT", "R1", "C2",
		}, r.statements())
	})
	t.Run("a failing Transact around the inner InTx", func(t *testing.T) {
		t.Parallel()
		r := newSQLRig(t)
		require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			require.ErrorIs(t, tidings.Transact(ctx, bare, func(ctx context.Context) error {
				require.NoError(t, r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.publish(ctx, 1) }))
				return errTx
			}), errTx)
			return nil
		}))
		require.Equal(t, []string{"BEGIN", "SAVEPOINT tidings_1", "I1", "RELEASE SAVEPOINT tidings_1", "COMMIT", "R1"}, r.statements())
	})
	t.Run("InTx in a Transact of another library", func(t *testing.T) {
		t.Parallel()
		r := newSQLRig(t)
		require.NoError(t, tidings.Transact(t.Context(), bare, func(ctx context.Context) error {
			require.NoError(t, r.inTx(ctx, func(ctx context.Context, _ *sql.Tx) error { return r.publish(ctx, 1) }))
			require.Equal(t, []string{"BEGIN", "I1", "B1", "COMMIT", "C1"}, r.statements(), "a transaction of its own")
			return nil
		}))
	})
	t.Run("Begin in InTx", func(t *testing.T) {
		t.Parallel()
		r := newSQLRig(t)
		require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
			inner, hook := tidings.Begin(ctx)
			r.mustPublish(inner, t, 1)
			hook.Rollback(inner)
			inner, hook = tidings.Begin(ctx)
			r.mustPublish(inner, t, 2)
			return hook.Commit(inner)
		}))
		require.Equal(t, []string{"BEGIN", "I1", "I2", "B2", "COMMIT", "R1", "C2"}, r.statements())
	})
}

func TestInTxInHandlers(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	// Handlers use InTx without knowing whether they are in a transaction.
	r := newSQLRig(t)
	for _, phase := range allPhases {
		tidings.Subscribe(r.bus, func(ctx context.Context, e txOther) error {
			return r.inTx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, phase.String()); err != nil {
					return err
				}
				return r.publish(ctx, int(phase))
			})
		}, phase)
	}
	require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return tidings.Publish(ctx, r.bus, txOther{})
	}))
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_1", "InTransaction", "I1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "BeforeCommit", "I2", "RELEASE SAVEPOINT tidings_2",
		"B1", "B2",
		"COMMIT",
		"BEGIN", "AfterCommit", "I0", "B0", "COMMIT", "C0",
		"C1", "C2",
	}, r.statements())

	require.ErrorIs(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
		return errors.Join(tidings.Publish(ctx, r.bus, txOther{}), errTx)
	}), errTx)
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_3", "InTransaction", "I1", "RELEASE SAVEPOINT tidings_3",
		"ROLLBACK",
		"BEGIN", "AfterRollback", "I3", "B3", "COMMIT", "C3",
		"R1",
	}, r.statements())
	require.Empty(t, r.reported())
}

func TestInTxIsolation(t *testing.T) {
	t.Parallel()
	const def, committed, serializable = sql.LevelDefault, sql.LevelReadCommitted, sql.LevelSerializable
	for _, c := range []struct {
		outer, inner, innermost sql.IsolationLevel
		ok                      [2]bool // inner, innermost
	}{
		{serializable, serializable, serializable, [2]bool{true, true}},
		{serializable, def, serializable, [2]bool{true, true}},
		{serializable, def, committed, [2]bool{true, false}},
		{serializable, committed, def, [2]bool{false, false}},
		{def, serializable, def, [2]bool{false, false}},
		{def, def, def, [2]bool{true, true}},
	} {
		t.Run(fmt.Sprintf("%v %v %v", c.outer, c.inner, c.innermost), func(t *testing.T) {
			t.Parallel()
			r := newSQLRig(t)
			var got [2]bool
			require.NoError(t, tidings.InTx(t.Context(), r.db, &sql.TxOptions{Isolation: c.outer}, func(ctx context.Context, _ *sql.Tx) error {
				r.statements()
				var innermost error
				inner := tidings.InTx(ctx, r.db, &sql.TxOptions{Isolation: c.inner}, func(ctx context.Context, _ *sql.Tx) error {
					got[0] = true
					innermost = tidings.InTx(ctx, r.db, &sql.TxOptions{Isolation: c.innermost}, func(context.Context, *sql.Tx) error {
						got[1] = true
						return nil
					})
					return nil
				})
				if err := errors.Join(inner, innermost); err != nil {
					require.ErrorContains(t, err, "isolation level")
					require.ErrorContains(t, err, "a savepoint cannot change it")
				}
				if inner != nil {
					require.Empty(t, r.statements(), "refused before the database is asked")
				}
				return nil
			}))
			require.Equal(t, c.ok, got)
		})
	}
}

func TestInTxFinished(t *testing.T) {
	t.Parallel()
	r := newSQLRig(t)
	var done context.Context
	require.NoError(t, r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error { done = ctx; return nil }))
	r.statements()
	require.ErrorIs(t, r.inTx(done, func(context.Context, *sql.Tx) error { t.Error("called"); return nil }), tidings.ErrTxDone)
	require.ErrorIs(t, r.publish(done, 1), tidings.ErrTxDone)
	other, log := fakedb.Open(t)
	require.ErrorIs(t, tidings.InTx(done, other, nil, func(context.Context, *sql.Tx) error { t.Error("called"); return nil }), tidings.ErrTxDone)
	require.Empty(t, r.statements())
	require.Empty(t, log.Statements())
}

func TestInTxFromManyGoroutines(t *testing.T) {
	t.Parallel()
	timeLimit(t)
	// One connection, many transactions, every other of which fails.
	const goroutines, each = 8, 25
	r := newSQLRig(t)
	done := make(chan struct{}, goroutines)
	for g := range goroutines {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range each {
				end := error(nil)
				if i%2 == 1 {
					end = errTx
				}
				err := r.inTx(t.Context(), func(ctx context.Context, _ *sql.Tx) error {
					return errors.Join(r.publish(ctx, g), end)
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
	for _, s := range r.statements() {
		count[s[:1]]++
	}
	const committed, rolledBack = goroutines * (each + 1) / 2, goroutines * (each - 1) / 2
	require.Equal(t, committed+rolledBack, count["I"])
	require.Equal(t, 2*committed, count["C"], "COMMIT, and the handler")
	require.Equal(t, 2*rolledBack, count["R"], "ROLLBACK, and the handler")
	require.Empty(t, r.reported())
}

// openShop returns the database of the examples. There is no test at whose
// end to close it.
func openShop() *sql.DB {
	db, _ := fakedb.Open(exampleTB{})
	return db
}

// exampleTB is what fakedb.Open needs of a test.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper()        {}
func (exampleTB) Cleanup(func()) {}
