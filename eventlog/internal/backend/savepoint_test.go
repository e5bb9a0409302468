package backend_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog/internal/backend"
)

var errOnPurpose = errors.New("on purpose")

// A failing querier refuses statements that begin like one of these.
type failing struct {
	refuse []string
	ran    []string
}

func (f *failing) Exec(ctx context.Context, query string, _ ...any) (int64, error) {
	verb, _, _ := strings.Cut(query, " tidings_")
	f.ran = append(f.ran, verb)
	for _, r := range f.refuse {
		if verb == r {
			return 0, errors.New("refused " + verb)
		}
	}
	return 0, ctx.Err()
}

func (f *failing) Query(context.Context, string, ...any) (backend.Rows, error) {
	return nil, errors.New("not used")
}

func TestSavepoint(t *testing.T) {
	t.Parallel()
	const (
		set, release, rollback = "SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT"
		all                    = "abort"
	)
	for _, test := range []struct {
		reason   string
		refuse   []string
		body     error
		abortErr error
		want     []string
		errs     []string // all of them
	}{
		{"kept", nil, nil, nil, []string{set, release}, nil},
		{"rolled back, and not left standing", nil, errOnPurpose, nil, []string{set, rollback, release}, []string{"on purpose"}},
		{"not set", []string{set}, nil, nil, []string{set}, []string{"refused SAVEPOINT"}},
		{"not released, so rolled back", []string{release}, nil, nil, []string{set, release, rollback, release}, []string{"refused RELEASE"}},
		{
			"neither: the whole transaction goes, or it could commit half", []string{release, rollback}, nil, nil,
			[]string{set, release, rollback, all},
			[]string{"refused RELEASE", "refused ROLLBACK", "all of the transaction"},
		},
		{
			"not rolled back", []string{rollback}, errOnPurpose, nil,
			[]string{set, rollback, all},
			[]string{"on purpose", "refused ROLLBACK", "all of the transaction"},
		},
		{
			"nothing can be done", []string{rollback}, errOnPurpose, errors.New("no abort"),
			[]string{set, rollback, all},
			[]string{"on purpose", "refused ROLLBACK", "no abort"},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			f := &failing{refuse: test.refuse}
			run := backend.Savepoint(f, func(context.Context) error {
				f.ran = append(f.ran, all)
				return test.abortErr
			})
			err := run(t.Context(), func(context.Context) error { return test.body })
			require.Equal(t, test.want, f.ran)
			if test.errs == nil {
				require.NoError(t, err)
			}
			for _, e := range test.errs {
				require.ErrorContains(t, err, e)
			}
		})
	}
}

func TestSavepointAfterAPanic(t *testing.T) {
	t.Parallel()
	f := &failing{}
	require.PanicsWithValue(t, "on purpose", func() {
		_ = backend.Savepoint(f, nil)(t.Context(), func(context.Context) error { panic("on purpose") })
	})
	require.Equal(t, []string{"SAVEPOINT", "ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT"}, f.ran)
}

func TestSavepointWithAContextThatEnds(t *testing.T) {
	t.Parallel()
	f := &failing{}
	ctx, cancel := context.WithCancel(t.Context())
	err := backend.Savepoint(f, nil)(ctx, func(context.Context) error {
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"SAVEPOINT", "ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT"}, f.ran)
}

// Whoever drops the error of an inner scope that could not be rolled back
// does not commit what it wrote.
func TestInTxAfterARollbackThatFailed(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(filepath.Join(t.TempDir(), "x.db"))}).EscapedPath())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE mine (n integer)`)
	require.NoError(t, err)
	b := backend.SQL(backend.SQLite, db)

	err = b.InTx(t.Context(), func(ctx context.Context, outer backend.Querier) error {
		for _, statement := range []string{`INSERT INTO mine VALUES (1)`, `SAVEPOINT mine`} {
			_, err := outer.Exec(ctx, statement)
			require.NoError(t, err)
		}
		err := b.InTx(ctx, func(ctx context.Context, inner backend.Querier) error {
			_, err := inner.Exec(ctx, `INSERT INTO mine VALUES (2)`)
			require.NoError(t, err)
			// Releases what is nested in it, so that there is no savepoint
			// to go back to.
			_, err = inner.Exec(ctx, `RELEASE SAVEPOINT mine`)
			require.NoError(t, err)
			return errOnPurpose
		})
		require.ErrorIs(t, err, errOnPurpose)
		require.ErrorContains(t, err, "all of the transaction is rolled back")
		return nil // dropped
	})
	require.ErrorIs(t, err, sql.ErrTxDone)
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM mine`).Scan(&n))
	require.Zero(t, n)
}

func TestInTx(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(filepath.Join(t.TempDir(), "x.db"))}).EscapedPath())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE mine (n integer)`)
	require.NoError(t, err)
	b := backend.SQL(backend.SQLite, db)
	insert := func(n int, result error) func(context.Context, backend.Querier) error {
		return func(ctx context.Context, q backend.Querier) error {
			affected, err := q.Exec(ctx, `INSERT INTO mine VALUES (?)`, n)
			require.NoError(t, err)
			require.EqualValues(t, 1, affected)
			joined, err := b.Tx(ctx)
			require.NoError(t, err)
			require.Equal(t, q, joined)
			return result
		}
	}
	require.NoError(t, b.InTx(t.Context(), insert(1, nil)))
	require.ErrorIs(t, b.InTx(t.Context(), insert(2, errOnPurpose)), errOnPurpose)
	require.NoError(t, b.InTx(t.Context(), func(ctx context.Context, _ backend.Querier) error {
		require.NoError(t, b.InTx(ctx, insert(3, nil)))
		require.ErrorIs(t, b.InTx(ctx, insert(4, errOnPurpose)), errOnPurpose)
		cancelled, cancel := context.WithCancel(ctx)
		require.ErrorIs(t, b.InTx(cancelled, func(ctx context.Context, q backend.Querier) error {
			require.NoError(t, insert(5, nil)(ctx, q))
			cancel()
			return nil
		}), context.Canceled)
		return nil
	}))
	for _, tt := range []struct {
		db   any
		want string
	}{{7, "of a int, and the log is on a *sql.DB"}, {db, "the transaction in ctx has no *sql.Tx"}} {
		ctx, hook := tidings.NewTxHook(t.Context(), tt.db)
		require.ErrorContains(t, b.InTx(ctx, insert(6, nil)), tt.want)
		hook.Rollback(ctx)
	}
	var sum []int
	require.NoError(t, backend.Each(t.Context(), b.Pool(), `SELECT n FROM mine ORDER BY n`, nil, func(r backend.Rows) error {
		sum = append(sum, 0)
		return r.Scan(&sum[len(sum)-1])
	}))
	require.Equal(t, []int{1, 3}, sum)
}

func TestEachAndOne(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.ToSlash(filepath.Join(t.TempDir(), "x.db"))}).EscapedPath())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	q := backend.SQL(backend.SQLite, db).Pool()
	var n int
	found, err := backend.One(t.Context(), q, `SELECT 1 WHERE 1 = 0`, nil, &n)
	require.NoError(t, err)
	require.False(t, found)
	found, err = backend.One(t.Context(), q, `SELECT ?`, []any{7}, &n)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, 7, n)
	_, err = backend.One(t.Context(), q, `SELECT 'x'`, nil, &n)
	require.Error(t, err)
	_, err = backend.One(t.Context(), q, `nonsense`, nil, &n)
	require.Error(t, err)
	calls := 0
	err = backend.Each(t.Context(), q, `SELECT 1 UNION SELECT 2`, nil, func(backend.Rows) error {
		calls++
		return errOnPurpose
	})
	require.ErrorIs(t, err, errOnPurpose)
	require.Equal(t, 1, calls)
	_, err = q.Exec(t.Context(), `SELECT 1`) // the connection was given back
	require.NoError(t, err)
}
