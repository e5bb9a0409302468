package tidingstest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
	"github.com/tidings-go/tidings/tidingstest"
)

// InTx in fn is a savepoint, whose events wait for the end of fn.
func TestCommitInTxInside(t *testing.T) {
	t.Parallel()
	db, tx, log := begin(t)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	no := errors.New("no")
	inTx := func(ctx context.Context, id int64, err error) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, inside *sql.Tx) error {
			require.Same(t, tx, inside)
			require.NoError(t, insert(ctx, db, fmt.Sprint(id)))
			require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: id}))
			return err
		})
	}
	require.NoError(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		require.NoError(t, inTx(ctx, 1, nil))
		require.ErrorIs(t, inTx(ctx, 2, no), no)
		require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 3}))
		require.NoError(t, inTx(ctx, 4, nil))
		require.Empty(t, rec.Delivered())
		return nil
	}))
	require.Equal(t, []int64{1, 3, 4}, numbersOf(t, rec.Delivered()))
	require.Equal(t, []int64{2}, numbersOf(t, rec.RolledBack()))
	require.Equal(t, []string{
		"SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "INSERT 1", "RELEASE SAVEPOINT tidings_2",
		"SAVEPOINT tidings_3", "INSERT 2", "ROLLBACK TO SAVEPOINT tidings_3", "RELEASE SAVEPOINT tidings_3",
		"SAVEPOINT tidings_4", "INSERT 4", "RELEASE SAVEPOINT tidings_4",
		"RELEASE SAVEPOINT tidings_1",
	}, statements(log))
}

// A savepoint that cannot be rolled back to spoils the whole.
func TestCommitDoomed(t *testing.T) {
	t.Parallel()
	db, tx, log := begin(t)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	lost := errors.New("connection lost")
	log.Fail("ROLLBACK TO SAVEPOINT tidings_2", lost)
	err := tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 1}))
		err := tidings.InTx(ctx, db, nil, func(context.Context, *sql.Tx) error { return errDeclined })
		require.ErrorIs(t, err, errDeclined)
		return nil
	})
	require.ErrorIs(t, err, lost)
	require.Empty(t, rec.Delivered())
	require.Equal(t, []int64{1}, numbersOf(t, rec.RolledBack()))
}

// After the commit, a handler's transaction is a savepoint that delivers
// when it is released, and so on.
func TestCommitRecursively(t *testing.T) {
	t.Parallel()
	db, tx, log := begin(t)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	tidings.Subscribe(bus, func(ctx context.Context, e accepted) error {
		if e.ProposalID == 4 {
			return tidings.Publish(ctx, bus, signed{})
		}
		err := tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
			require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: e.ProposalID + 1}))
			return insert(ctx, db, fmt.Sprint(e.ProposalID+1))
		})
		tidingstest.Require(t, rec.Delivered(), has(e.ProposalID+1))
		return err
	})
	require.NoError(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		require.NoError(t, insert(ctx, db, "1"))
		return tidings.Publish(ctx, bus, accepted{ProposalID: 1})
	}))
	tidingstest.RequireSequence(t, rec.Delivered(), tidingstest.Of(has(1)), tidingstest.Of(has(2)),
		tidingstest.Of(has(3)), tidingstest.Of(has(4)), tidingstest.Of[signed]())
	require.Equal(t, []string{
		"SAVEPOINT tidings_1", "INSERT 1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "INSERT 2", "RELEASE SAVEPOINT tidings_2",
		"SAVEPOINT tidings_3", "INSERT 3", "RELEASE SAVEPOINT tidings_3",
		"SAVEPOINT tidings_4", "INSERT 4", "RELEASE SAVEPOINT tidings_4",
	}, statements(log))
}

// A handler's own transaction that fails undoes itself alone.
func TestCommitHandlerRollsBack(t *testing.T) {
	t.Parallel()
	db, tx, log := begin(t)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	tidings.Subscribe(bus, func(ctx context.Context, e accepted) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
			require.NoError(t, tidings.Publish(ctx, bus, signed{}))
			return errDeclined
		})
	})
	require.ErrorIs(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		return tidings.Publish(ctx, bus, accepted{ProposalID: 1})
	}), errDeclined)
	require.Equal(t, []int64{1}, numbersOf(t, rec.Delivered()))
	tidingstest.RequireSequence(t, rec.RolledBack(), tidingstest.Of[signed]())
	require.Equal(t, []string{
		"SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "ROLLBACK TO SAVEPOINT tidings_2", "RELEASE SAVEPOINT tidings_2",
	}, statements(log))
}

// Another database has its own transactions, and its own commits.
func TestCommitOtherDatabase(t *testing.T) {
	t.Parallel()
	db, tx, _ := begin(t)
	other, log := fakedb.Open(t)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	require.ErrorIs(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 1}))
		require.NoError(t, tidings.InTx(ctx, other, nil, func(ctx context.Context, inside *sql.Tx) error {
			require.NotSame(t, tx, inside)
			require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 2}))
			// And back, into the one that is under test.
			return tidings.InTx(ctx, db, nil, func(ctx context.Context, inside *sql.Tx) error {
				require.Same(t, tx, inside)
				return tidings.Publish(ctx, bus, accepted{ProposalID: 3})
			})
		}))
		require.Equal(t, []int64{2}, numbersOf(t, rec.Delivered()))
		return errDeclined
	}), errDeclined)
	require.Equal(t, []int64{2}, numbersOf(t, rec.Delivered()))
	require.Equal(t, []int64{1, 3}, numbersOf(t, rec.RolledBack()))
	require.Equal(t, []string{"BEGIN", "COMMIT"}, statements(log))
}

// Two databases may be under test.
func TestCommitInSandbox(t *testing.T) {
	t.Parallel()
	db, tx, log := begin(t)
	other, otherLog := fakedb.Open(t)
	other.SetMaxOpenConns(1)
	ctx, otherTx := tidingstest.Sandbox(t, other)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	require.NoError(t, tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
		require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 1}))
		require.NoError(t, tidings.InTx(ctx, other, nil, func(ctx context.Context, inside *sql.Tx) error {
			require.Same(t, otherTx, inside)
			return tidings.Publish(ctx, bus, accepted{ProposalID: 2})
		}))
		require.Equal(t, []int64{2}, numbersOf(t, rec.Delivered()))
		return nil
	}))
	require.Equal(t, []int64{2, 1}, numbersOf(t, rec.Delivered()))
	require.Equal(t, []string{"SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1"}, statements(log))
	require.Equal(t, []string{"BEGIN", "SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1"}, statements(otherLog))
}

// An orm is a handle of a library that has one type for both databases and
// transactions, and sets savepoints by itself.
type orm struct {
	log   []string
	outer *orm
}

func (o *orm) transaction(fn func(tx *orm) error) error {
	o.log = append(o.log, "savepoint")
	if err := fn(&orm{outer: o}); err != nil {
		o.log = append(o.log, "rollback to")
		return err
	}
	o.log = append(o.log, "release")
	return nil
}

// inORM is what a user of that library writes.
func inORM(db *orm) tidings.Transactor {
	return tidings.Transactor{DB: db, Run: func(ctx context.Context, body func(context.Context) error) error {
		tx, ok := tidings.TxFrom[*orm](ctx, db)
		if !ok {
			tx = db
		}
		return tx.transaction(func(tx *orm) error { return body(tidings.WithTx(ctx, db, tx)) })
	}}
}

func TestCommitOtherLibrary(t *testing.T) {
	t.Parallel()
	db, tx := &orm{}, &orm{}
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	tidings.Subscribe(bus, func(ctx context.Context, e accepted) error {
		return tidings.Transact(ctx, inORM(db), func(ctx context.Context) error {
			inside, ok := tidings.TxFrom[*orm](ctx, db)
			require.True(t, ok)
			require.Same(t, tx, inside.outer)
			return tidings.Publish(ctx, bus, created{ClientID: e.ProposalID})
		})
	})
	require.NoError(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		inside, ok := tidings.TxFrom[*orm](ctx, db)
		require.True(t, ok)
		require.Same(t, tx, inside)
		require.NoError(t, tidings.Transact(ctx, inORM(db), func(ctx context.Context) error {
			return tidings.Publish(ctx, bus, accepted{ProposalID: 1})
		}))
		require.ErrorIs(t, tidings.Transact(ctx, inORM(db), func(ctx context.Context) error {
			return errors.Join(tidings.Publish(ctx, bus, accepted{ProposalID: 2}), errDeclined)
		}), errDeclined)
		require.Empty(t, rec.Delivered())
		return nil
	}))
	tidingstest.RequireSequence(t, rec.Delivered(), tidingstest.Of(has(1)), tidingstest.Of[created]())
	require.Equal(t, []int64{2}, numbersOf(t, rec.RolledBack()))
	require.Empty(t, db.log, "the database itself was left alone")
	require.Equal(t, []string{"savepoint", "release", "savepoint", "rollback to", "savepoint", "release"}, tx.log)
}

func TestSandbox(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	db.SetMaxOpenConns(1)
	require.Empty(t, try(t, func(t *fakeTB) {
		ctx, tx := tidingstest.Sandbox(t, db)
		bus := tidingstest.NewBus(t)
		rec := tidingstest.Record(bus)
		tidings.Subscribe(bus, onAccepted(bus))
		accept := func(err error) error {
			return tidings.InTx(ctx, db, &sql.TxOptions{Isolation: sql.LevelSerializable}, func(ctx context.Context, inside *sql.Tx) error {
				require.Same(t, tx, inside)
				require.NoError(t, insert(ctx, db, "proposal"))
				require.NoError(t, tidings.Publish(ctx, bus, accepted{}))
				require.Empty(t, rec.Delivered())
				return err
			})
		}
		require.ErrorIs(t, accept(errDeclined), errDeclined)
		require.Empty(t, rec.Delivered())
		tidingstest.RequireSequence(t, rec.RolledBack(), tidingstest.Of[accepted]())
		require.NoError(t, accept(nil))
		tidingstest.RequireSequence(t, rec.Delivered(), tidingstest.Of[accepted](), tidingstest.Of[created]())
	}))
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_1", "INSERT proposal", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "INSERT proposal", "RELEASE SAVEPOINT tidings_2",
		"ROLLBACK",
	}, statements(log))
	require.Empty(t, log.Committed())
}

// A TxFunc may be built on InTx.
func TestSandboxTxFuncOfInTx(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	ctx, sandbox := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	inTx := func(ctx context.Context, body func(context.Context) error) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			require.Same(t, sandbox, tx)
			return body(ctx)
		})
	}
	require.NoError(t, tidings.Transact(ctx, tidings.Transactor{DB: db, Run: inTx}, func(ctx context.Context) error {
		return tidings.Publish(ctx, bus, accepted{ProposalID: 1})
	}))
	require.Equal(t, []int64{1}, numbersOf(t, rec.Delivered()))
	require.Equal(t, []string{"BEGIN", "SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1"}, statements(log))
}

func TestSandboxFails(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	require.Equal(t, []string{"tidingstest: Sandbox: rolling back: sql: transaction has already been committed or rolled back"},
		try(t, func(t *fakeTB) {
			_, tx := tidingstest.Sandbox(t, db)
			require.NoError(t, tx.Commit())
		}), "the test has left a trace")
	log.Fail("BEGIN", errors.New("no connection"))
	require.Equal(t, []string{"tidingstest: Sandbox: begin: no connection"},
		try(t, func(t *fakeTB) { tidingstest.Sandbox(t, db) }))
}

// Handlers in several goroutines take turns: savepoints do not overlap.
func TestCommitAsyncHandlers(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	log.On("INSERT", func() error {
		for range 100 { // give the others a chance to interfere
			runtime.Gosched()
		}
		return nil
	})
	ctx, tx := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	handle := func(ctx context.Context, e accepted) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
			for range 5 {
				if err := insert(ctx, db, "client"); err != nil {
					return err
				}
			}
			return tidings.Publish(ctx, bus, created{ClientID: e.ProposalID})
		})
	}
	for range 5 {
		tidings.Subscribe(bus, handle, tidings.Async())
	}
	tidings.Subscribe(bus, handle)
	for range 10 { // the later ones while handlers of the first still run
		require.NoError(t, tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
			require.NoError(t, insert(ctx, db, "proposal"))
			return tidings.Publish(ctx, bus, accepted{})
		}))
	}
	tidingstest.Drain(t, bus)
	require.Len(t, tidingstest.All[created](rec.Delivered()), 60)
	open := "" // the savepoint that is set
	for _, s := range statements(log) {
		if name, ok := strings.CutPrefix(s, "SAVEPOINT "); ok {
			require.Empty(t, open, "%s inside another", s)
			open = name
		} else if name, ok := strings.CutPrefix(s, "RELEASE SAVEPOINT "); ok {
			require.Equal(t, open, name)
			open = ""
		}
	}
}

// Commit waits while a handler of an earlier one has a savepoint.
func TestCommitWaits(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	ctx, tx := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	inside := make(chan struct{})
	tidings.Subscribe(bus, func(ctx context.Context, e accepted) error {
		return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
			close(inside)
			for range 1000 { // give the next Commit a chance to interfere
				runtime.Gosched()
			}
			return insert(ctx, db, "client")
		})
	}, tidings.Async())
	require.NoError(t, tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
		return tidings.Publish(ctx, bus, accepted{})
	}))
	<-inside
	require.NoError(t, tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
		return insert(ctx, db, "proposal")
	}))
	require.Equal(t, []string{
		"BEGIN",
		"SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1",
		"SAVEPOINT tidings_2", "INSERT client", "RELEASE SAVEPOINT tidings_2",
		"SAVEPOINT tidings_3", "INSERT proposal", "RELEASE SAVEPOINT tidings_3",
	}, statements(log))
}

// In a sandbox, too, a savepoint that cannot be rolled back to spoils the
// transaction around it, as it would in production.
func TestSandboxDoomed(t *testing.T) {
	t.Parallel()
	db, log := fakedb.Open(t)
	ctx, _ := tidingstest.Sandbox(t, db)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	lost := errors.New("connection lost")
	log.Fail("ROLLBACK TO SAVEPOINT tidings_2", lost)
	err := tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error {
		require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 1}))
		require.ErrorIs(t, tidings.InTx(ctx, db, nil, func(context.Context, *sql.Tx) error { return errDeclined }), errDeclined)
		return nil
	})
	require.ErrorIs(t, err, lost)
	require.Empty(t, rec.Delivered())
	require.Equal(t, []int64{1}, numbersOf(t, rec.RolledBack()))
}
