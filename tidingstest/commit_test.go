package tidingstest_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest/fakedb"
	"github.com/tidings-go/tidings/tidingstest"
)

// begin returns a database and a transaction on it, which takes its one
// connection: whoever wants another would wait forever.
func begin(t *testing.T) (*sql.DB, *sql.Tx, *fakedb.Log) {
	t.Helper()
	db, log := fakedb.Open(t)
	db.SetMaxOpenConns(1)
	tx, err := db.BeginTx(context.Background(), nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
			require.NoError(t, err)
		}
	})
	log.Reset()
	return db, tx, log
}

func insert(ctx context.Context, db *sql.DB, what string) error {
	tx, ok := tidings.TxFrom[*sql.Tx](ctx, db)
	if !ok {
		return errors.New("not in a transaction")
	}
	_, err := tx.ExecContext(ctx, "INSERT "+what)
	return err
}

func TestCommit(t *testing.T) {
	t.Parallel()
	db, tx, log := begin(t)
	bus := tidingstest.NewBus(t)
	rec := tidingstest.Record(bus)
	var order []string
	for _, phase := range []tidings.Phase{tidings.AfterCommit, tidings.BeforeCommit, tidings.InTransaction, tidings.AfterRollback} {
		tidings.Subscribe(bus, func(ctx context.Context, _ accepted) error {
			order = append(order, phase.String())
			found, ok := tidings.TxFrom[*sql.Tx](ctx, db)
			require.Equal(t, phase == tidings.InTransaction || phase == tidings.BeforeCommit, ok)
			if ok {
				require.Same(t, tx, found)
				return insert(ctx, db, phase.String())
			}
			return nil
		}, phase)
	}
	var kept context.Context
	type key struct{}
	require.NoError(t, tidingstest.Commit(context.WithValue(t.Context(), key{}, "value"), db, tx, func(ctx context.Context) error {
		kept = ctx
		require.Equal(t, "value", ctx.Value(key{}))
		require.NoError(t, insert(ctx, db, "proposal"))
		require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 1}))
		require.Equal(t, []string{"InTransaction"}, order)
		require.Empty(t, rec.Delivered())
		return nil
	}))
	require.Equal(t, []string{"InTransaction", "BeforeCommit", "AfterCommit"}, order)
	require.Equal(t, []int64{1}, numbersOf(t, rec.Delivered()))
	require.Equal(t, []string{
		"SAVEPOINT tidings_1", "INSERT proposal", "INSERT InTransaction", "INSERT BeforeCommit", "RELEASE SAVEPOINT tidings_1",
	}, statements(log))
	require.Empty(t, log.Committed())

	require.ErrorIs(t, tidings.Publish(kept, bus, accepted{}), tidings.ErrTxDone)
}

func TestCommitFails(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	tests := []struct {
		name  string
		fail  func(*fakedb.Log)
		fn    func(ctx context.Context, db *sql.DB, cancel func()) error
		phase tidings.Phase // of a handler that fails
		want  string
		last  string // statement
	}{
		{
			name: "in fn",
			fn:   func(context.Context, *sql.DB, func()) error { return no },
			want: "no",
			last: "; ROLLBACK TO SAVEPOINT tidings_1; RELEASE SAVEPOINT tidings_1",
		},
		{
			name: "in fn, cancelled",
			fn: func(ctx context.Context, db *sql.DB, cancel func()) error {
				cancel()
				return insert(ctx, db, "something")
			},
			want: "context canceled",
			last: "; ROLLBACK TO SAVEPOINT tidings_1; RELEASE SAVEPOINT tidings_1",
		},
		{
			name:  "in a handler in the transaction",
			phase: tidings.InTransaction,
			want:  "tidings: billing handling tidingstest_test.signed: card declined",
			last:  "; ROLLBACK TO SAVEPOINT tidings_1; RELEASE SAVEPOINT tidings_1",
		},
		{
			name:  "in a handler before the commit",
			phase: tidings.BeforeCommit,
			want:  "tidings: billing handling tidingstest_test.signed: card declined",
			last:  "; ROLLBACK TO SAVEPOINT tidings_1; RELEASE SAVEPOINT tidings_1",
		},
		{
			name: "setting the savepoint",
			fail: func(log *fakedb.Log) { log.Fail("SAVEPOINT", no) },
			want: "tidingstest: Commit: setting a savepoint: no",
			last: "SAVEPOINT tidings_1",
		},
		{
			name: "releasing the savepoint",
			fail: func(log *fakedb.Log) { log.Fail("RELEASE", no) },
			want: "tidingstest: Commit: releasing the savepoint: no",
			last: "; ROLLBACK TO SAVEPOINT tidings_1; RELEASE SAVEPOINT tidings_1",
		},
		{
			name: "undoing",
			fail: func(log *fakedb.Log) { log.Fail("ROLLBACK TO", errors.New("connection lost")) },
			fn:   func(context.Context, *sql.DB, func()) error { return no },
			want: "no\ntidingstest: Commit: undoing what failed: connection lost",
			last: "ROLLBACK TO SAVEPOINT tidings_1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db, tx, log := begin(t)
			bus := tidingstest.NewBus(t)
			rec := tidingstest.Record(bus)
			if tt.phase != tidings.AfterCommit {
				tidings.Subscribe(bus, func(context.Context, signed) error { return errDeclined }, tt.phase, tidings.Named("billing"))
			}
			if tt.fail != nil {
				tt.fail(log)
			}
			called := false
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error {
				called = true
				require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 1}))
				if tt.fn != nil {
					return tt.fn(ctx, db, cancel)
				}
				return tidings.Publish(ctx, bus, signed{})
			})
			require.EqualError(t, err, tt.want)
			require.Empty(t, rec.Delivered())
			if called {
				require.Equal(t, int64(1), tidingstest.Require[accepted](t, rec.RolledBack()).ProposalID)
			}
			all := strings.Join(statements(log), "; ")
			require.True(t, strings.HasSuffix(all, tt.last), all)
		})
	}
}

// The failures of handlers after the commit are for the test to see.
func TestCommitReturnsHandlerErrors(t *testing.T) {
	t.Parallel()
	db, tx, _ := begin(t)
	bus := tidingstest.NewBus(t) // which would fail the test
	rec := tidingstest.Record(bus)
	tidings.Subscribe(bus, decline, tidings.Named("billing"))
	tidings.Subscribe(bus, func(context.Context, accepted) error { panic("oops") }, tidings.Named("mail"))
	tidings.Subscribe(bus, onAccepted(bus))
	err := tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		return tidings.Publish(ctx, bus, accepted{})
	})
	require.EqualError(t, err, "tidings: billing handling tidingstest_test.accepted: card declined\n"+
		"tidings: mail handling tidingstest_test.accepted: panic: oops")
	tidingstest.RequireSequence(t, rec.Delivered(), tidingstest.Of[accepted](), tidingstest.Of[created]())
	require.Empty(t, rec.RolledBack())
}

// Handlers get the values of the context, not its end, and no transaction.
func TestCommitHandlersContext(t *testing.T) {
	t.Parallel()
	db, tx, _ := begin(t)
	bus := tidingstest.NewBus(t)
	type key struct{}
	handled := 0
	tidings.Subscribe(bus, func(ctx context.Context, _ accepted) error {
		handled++
		require.Equal(t, "value", ctx.Value(key{}))
		_, in := tidings.TxDatabase(ctx)
		require.False(t, in)
		return ctx.Err()
	})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	// Transactions without savepoints do not notice the cancelled context.
	require.NoError(t, tidingstest.Commit(ctx, &orm{}, &orm{}, func(ctx context.Context) error {
		defer cancel()
		return tidings.Publish(ctx, bus, accepted{})
	}))
	require.Equal(t, 1, handled)
	require.ErrorIs(t, tidingstest.Commit(ctx, db, tx, func(ctx context.Context) error { return nil }), context.Canceled)
}

func TestCommitPanic(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		leave func()
	}{
		{"panic", func() { panic("oops") }},
		{"goexit", func() { new(fakeTB).Fatal("goexit") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db, tx, log := begin(t)
			bus := tidingstest.NewBus(t)
			rec := tidingstest.Record(bus)
			var recovered any
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() { recovered = recover() }()
				_ = tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
					require.NoError(t, tidings.Publish(ctx, bus, accepted{ProposalID: 1}))
					tt.leave()
					return nil
				})
				t.Error("Commit returned")
			}()
			<-ended
			if tt.name == "panic" {
				require.Equal(t, "oops", recovered)
			} else {
				require.Nil(t, recovered)
			}
			require.Empty(t, rec.Delivered())
			require.Equal(t, []int64{1}, numbersOf(t, rec.RolledBack()))
			require.Equal(t, []string{"SAVEPOINT tidings_1", "ROLLBACK TO SAVEPOINT tidings_1", "RELEASE SAVEPOINT tidings_1"}, statements(log))
			// And the transaction is free for the next.
			require.NoError(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error { return nil }))
		})
	}
}

func TestCommitMisuse(t *testing.T) {
	t.Parallel()
	db, tx, _ := begin(t)
	fn := func(context.Context) error { t.Error("called"); return nil }
	const isNil = "tidingstest: Commit with a nil database, transaction or function"
	require.EqualError(t, tidingstest.Commit(t.Context(), nil, tx, fn), isNil)
	require.EqualError(t, tidingstest.Commit(t.Context(), db, nil, fn), isNil)
	require.EqualError(t, tidingstest.Commit(t.Context(), db, tx, nil), isNil)
	require.NoError(t, tidingstest.Commit(t.Context(), db, tx, func(ctx context.Context) error {
		require.ErrorContains(t, tidingstest.Commit(ctx, db, tx, fn), "in a transaction already")
		return nil
	}))
	require.NoError(t, tx.Rollback())
	require.ErrorIs(t, tidingstest.Commit(t.Context(), db, tx, fn), sql.ErrTxDone)
}

// statements returns what was sent to a database, without the questions which
// one it is.
func statements(log *fakedb.Log) []string {
	return slices.DeleteFunc(log.Statements(), func(s string) bool { return s == "SELECT version()" || s == "SELECT sqlite_version()" })
}
