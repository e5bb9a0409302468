package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/testhook"
)

// A scripted database notes the statements of its transactions, and refuses those that
// it is told to.
type scripted struct {
	statements []string
	refuse     map[string]error // by the beginning of the statement
}

type scriptedTx struct{ *scripted }

func (s *scripted) run(ctx context.Context, statement string) error {
	statement, _, _ = strings.Cut(statement, " tidings_")
	if ctx.Err() != nil || ctx.Done() != nil && (statement == "COMMIT" || statement == "ROLLBACK") {
		statement += " cancelled"
	}
	s.statements = append(s.statements, statement)
	return s.refuse[statement]
}

func (s *scripted) said() string {
	defer func() { s.statements = nil }()
	return strings.Join(s.statements, "; ")
}

func (s *scripted) transactor() tidings.Transactor {
	return tidings.NewTransactor(s, tidings.Library[scriptedTx]{
		Begin: func(ctx context.Context) (scriptedTx, error) { return scriptedTx{s}, s.run(ctx, "BEGIN") },
		Exec: func(ctx context.Context, tx scriptedTx, statement string) error {
			return tx.run(ctx, statement)
		},
		Commit:   func(ctx context.Context, tx scriptedTx) error { return tx.run(ctx, "COMMIT") },
		Rollback: func(ctx context.Context, tx scriptedTx) error { return tx.run(ctx, "ROLLBACK") },
	})
}

func TestNewTransactor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errA, errB := errors.New("A"), errors.New("B")
	nothing := func(context.Context) error { return nil }
	fail := func(context.Context) error { return errA }
	inside := func(of tidings.Transactor, fn func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			_ = tidings.Transact(ctx, of, fn)
			return nil
		}
	}
	for name, tt := range map[string]struct {
		refuse map[string]error
		fn     func(of tidings.Transactor) func(context.Context) error
		said   string
		err    string
	}{
		"commits": {
			fn:   func(tidings.Transactor) func(context.Context) error { return nothing },
			said: "BEGIN; COMMIT",
		},
		"rolls back": {
			fn:   func(tidings.Transactor) func(context.Context) error { return fail },
			said: "BEGIN; ROLLBACK", err: "A",
		},
		"cannot begin": {
			refuse: map[string]error{"BEGIN": errB},
			fn:     func(tidings.Transactor) func(context.Context) error { return nothing },
			said:   "BEGIN", err: "tidings: begin: B",
		},
		"cannot commit": {
			refuse: map[string]error{"COMMIT": errB, "ROLLBACK": sql.ErrTxDone},
			fn:     func(tidings.Transactor) func(context.Context) error { return nothing },
			said:   "BEGIN; COMMIT; ROLLBACK", err: "tidings: commit: B",
		},
		"cannot roll back": {
			refuse: map[string]error{"ROLLBACK": errB},
			fn:     func(tidings.Transactor) func(context.Context) error { return fail },
			said:   "BEGIN; ROLLBACK", err: "A\ntidings: rollback: B",
		},
		"a part commits": {
			fn:   func(of tidings.Transactor) func(context.Context) error { return inside(of, nothing) },
			said: "BEGIN; SAVEPOINT; RELEASE SAVEPOINT; COMMIT",
		},
		"a part rolls back": {
			fn:   func(of tidings.Transactor) func(context.Context) error { return inside(of, fail) },
			said: "BEGIN; SAVEPOINT; ROLLBACK TO SAVEPOINT; RELEASE SAVEPOINT; COMMIT",
		},
		"a part cannot roll back": {
			refuse: map[string]error{"ROLLBACK TO SAVEPOINT": errB, "COMMIT": sql.ErrTxDone},
			fn:     func(of tidings.Transactor) func(context.Context) error { return inside(of, fail) },
			said:   "BEGIN; SAVEPOINT; ROLLBACK TO SAVEPOINT; ROLLBACK; COMMIT; ROLLBACK", err: "tidings: commit: " + sql.ErrTxDone.Error(),
		},
		"is cancelled": {
			fn: func(tidings.Transactor) func(context.Context) error {
				return func(context.Context) error {
					cancel()
					return nil
				}
			},
			said: "BEGIN; ROLLBACK", err: "tidings: commit: context canceled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := &scripted{refuse: tt.refuse}
			ctx := ctx
			if name != "is cancelled" {
				ctx = context.WithoutCancel(ctx)
			}
			err := tidings.Transact(ctx, db.transactor(), func(ctx context.Context) error {
				_, ok := tidings.TxFrom[scriptedTx](ctx, db)
				require.True(t, ok)
				return tt.fn(db.transactor())(ctx)
			})
			require.Equal(t, tt.said, db.said())
			if tt.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tt.err)
			}
		})
	}
}

func TestNewTransactorRefuses(t *testing.T) {
	t.Parallel()
	db := &scripted{}
	nothing := func(context.Context) error { return nil }
	require.ErrorContains(t, tidings.Transact(tidings.WithTx(t.Context(), db, scriptedTx{db}), db.transactor(), nothing),
		"with a tidings_test.scriptedTx of the same database in ctx, added by WithTx without NewTxHook")
	ctx, hook := tidings.NewTxHook(t.Context(), db)
	defer hook.Rollback(ctx)
	require.ErrorContains(t, tidings.Transact(ctx, db.transactor(), nothing), "whose tidings_test.scriptedTx is not in ctx")
	require.Empty(t, db.said())
	require.PanicsWithValue(t, "tidings: NewTransactor with a nil database", func() {
		tidings.NewTransactor(nil, tidings.Library[scriptedTx]{})
	})
	require.PanicsWithValue(t, "tidings: NewTransactor with a nil function of the Library", func() {
		tidings.NewTransactor(db, tidings.Library[scriptedTx]{})
	})
}

// In the transaction of a test, what counts as the COMMIT is checked.
func TestNewTransactorInATest(t *testing.T) {
	t.Parallel()
	db, other := &scripted{}, &scripted{}
	checked := func(context.Context) (func(context.Context) error, error) {
		return func(ctx context.Context) error { return db.run(ctx, "CHECK") }, nil
	}
	ctx := testhook.WithBase(t.Context(), db, scriptedTx{db}, checked)
	nothing := func(context.Context) error { return nil }
	require.NoError(t, tidings.Transact(ctx, db.transactor(), nothing))
	require.Equal(t, "SAVEPOINT; CHECK; RELEASE SAVEPOINT", db.said())
	require.ErrorContains(t, tidings.Transact(testhook.WithBase(t.Context(), db, 7, checked), db.transactor(), nothing), "a transaction of a test that is a int, where one that is a tidings_test.scriptedTx was expected")
	require.NoError(t, tidings.Transact(ctx, other.transactor(), nothing))
	require.Equal(t, "BEGIN; COMMIT", other.said())
	db.refuse = map[string]error{"CHECK": errors.New("refused")}
	require.ErrorContains(t, tidings.Transact(ctx, db.transactor(), nothing), "a COMMIT would fail: refused")
}
