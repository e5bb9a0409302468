package eventlog_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	_ "github.com/lib/pq"              // the driver postgres
	"github.com/stretchr/testify/require"
	_ "github.com/uptrace/bun/driver/pgdriver" // the driver pg
	_ "modernc.org/sqlite"                     // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// Accepted and Created are events of the tests.
type Accepted struct {
	tidings.DomainEvent
	Number string `json:"number"`
	Total  int64  `json:"total"`
}

type Created struct {
	tidings.DomainEvent
	Client string `json:"client"`
}

// Unknown is not registered.
type Unknown struct{ tidings.DomainEvent }

func newRegistry() *tidings.Registry {
	r := &tidings.Registry{}
	tidings.Register[Accepted](r, "crm.accepted", 1)
	tidings.Register[Created](r, "clients.created", 1)
	return r
}

// A harness is a database of a test's own, seen through one driver.
type harness struct {
	name string
	db   eventlog.Database
	// inTx runs fn in a transaction, nested ones as savepoints.
	inTx func(ctx context.Context, fn func(ctx context.Context) error) error
	// begin begins a transaction by hand, and returns a context with it.
	begin func(ctx context.Context) (_ context.Context, commit, rollback func() error, _ error)
	// exec runs a statement outside of transactions and of tidings. Its
	// placeholders are $1, $2.
	exec func(t *testing.T, query string, args ...any)
	// count returns the result of a query that counts.
	count func(t *testing.T, query string, args ...any) int
	// close closes the connections, as an outage would.
	close func()
	// url opens the same database once more, in another process for
	// instance: a file for SQLite, a connection string for Postgres.
	url string
	// key stands for the database in tidings.WithTx.
	key any
	// sql is the database where it is seen through database/sql, else nil.
	sql *sql.DB
	// narrow leaves the pool one connection; nil for pgx, see reopened.
	narrow func()
}

// reopened opens h's database with a pool of its own.
func (h harness) reopened(t *testing.T) harness {
	t.Helper()
	return openAt(t, h.name, h.url)
}

// another opens another database of h's kind.
func (h harness) another(t *testing.T) harness {
	t.Helper()
	if h.postgres() {
		return openAt(t, h.name, postgresSchema(t))
	}
	return openSQLite(t)
}

// narrowed opens h's database with a pool of one connection.
func (h harness) narrowed(t *testing.T) harness {
	t.Helper()
	if h.name == "pgx" {
		return pgxAt(t, h.url+"&pool_max_conns=1")
	}
	one := h.reopened(t)
	one.narrow()
	return one
}

// openAt opens the database at a url of a harness of that name.
func openAt(t *testing.T, name, url string) harness {
	t.Helper()
	switch name {
	case "sqlite":
		return sqliteAt(t, url)
	case "postgres", "pq", "pgdriver":
		return postgresThrough(t, name, url)
	case "pgx":
		return pgxAt(t, url)
	}
	t.Fatalf("no database is called %q", name)
	return harness{}
}

func (h harness) postgres() bool { return h.name != "sqlite" }

// newest is the version of the schema.
func (h harness) newest() int {
	if h.postgres() {
		return 2
	}
	return 1
}

// open opens the log.
func (h harness) open(t *testing.T, opts ...eventlog.Option) *eventlog.Log {
	t.Helper()
	log, err := eventlog.Open(t.Context(), h.db, newRegistry(), opts...)
	require.NoError(t, err)
	return log
}

// attached opens the log and attaches it to a bus.
func (h harness) attached(t *testing.T) (*eventlog.Log, *tidings.EventBus) {
	t.Helper()
	log, bus := h.open(t), tidings.New()
	log.Attach(bus)
	t.Cleanup(func() { require.NoError(t, bus.Close(context.Background())) })
	return log, bus
}

// each runs test on every database that there is.
func each(t *testing.T, test func(t *testing.T, h harness)) {
	t.Helper()
	for _, name := range []string{"sqlite", "postgres", "pgx", "pq", "pgdriver"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, harness{name: name}.another(t))
		})
	}
}

func openSQLite(t *testing.T) harness {
	t.Helper()
	return sqliteAt(t, filepath.Join(t.TempDir(), "log.db"))
}

// sqliteAt opens a database file, a second time too.
func sqliteAt(t *testing.T, path string) harness {
	t.Helper()
	return sqliteWith(t, path, "_txlock=immediate&_pragma=synchronous(NORMAL)")
}

// sqliteWith opens a database file with parameters of the driver.
func sqliteWith(t *testing.T, path, params string) harness {
	t.Helper()
	db, err := sql.Open("sqlite", testdb.SQLite(path, params))
	require.NoError(t, err)
	h := sqlHarness(t, "sqlite", path, db, eventlog.SQLite(db))
	h.narrow = func() { db.SetMaxOpenConns(1) }
	return h
}

func sqlHarness(t *testing.T, name, url string, db *sql.DB, database eventlog.Database) harness {
	t.Helper()
	t.Cleanup(func() { _ = db.Close() }) // closed already where that was the test
	return harness{
		name: name, db: database, url: url, sql: db, key: db,
		inTx: func(ctx context.Context, fn func(context.Context) error) error {
			return tidings.InTx(ctx, db, nil, func(ctx context.Context, _ *sql.Tx) error { return fn(ctx) })
		},
		begin: func(ctx context.Context) (context.Context, func() error, func() error, error) {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return nil, nil, nil, err
			}
			return tidings.WithTx(ctx, db, tx), tx.Commit, tx.Rollback, nil
		},
		exec: func(t *testing.T, query string, args ...any) {
			t.Helper()
			_, err := db.ExecContext(t.Context(), query, args...)
			require.NoError(t, err, query)
		},
		count: func(t *testing.T, query string, args ...any) (n int) {
			t.Helper()
			require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n), query)
			return n
		},
		close: func() { _ = db.Close() },
	}
}

func openPostgres(t *testing.T) harness {
	t.Helper()
	return postgresAt(t, postgresSchema(t))
}

// postgresAt opens a connection string, a second time too.
func postgresAt(t *testing.T, url string) harness {
	t.Helper()
	return postgresThrough(t, "postgres", url)
}

// postgresThrough opens a connection string with one of the drivers of
// database/sql: that of pgx, which is called "postgres" here, lib/pq or
// pgdriver.
func postgresThrough(t *testing.T, name, url string) harness {
	t.Helper()
	driver := map[string]string{"postgres": "pgx", "pq": "postgres", "pgdriver": "pg"}[name]
	source := url
	if name == "pgdriver" {
		source += "&timeout=5m" // 10 s, its default, can pass on a busy machine
	}
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	db.SetMaxOpenConns(12)
	db.SetMaxIdleConns(12) // to connect costs more than most tests do
	h := sqlHarness(t, name, url, db, eventlog.Postgres(db))
	h.narrow = func() { db.SetMaxOpenConns(1) }
	return h
}

func openPgx(t *testing.T) harness {
	t.Helper()
	return pgxAt(t, postgresSchema(t))
}

// pgxAt opens a connection string, a second time too.
func pgxAt(t *testing.T, url string) harness {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return harness{
		name: "pgx", db: pgxlog.Postgres(pool), url: url, key: pool,
		inTx: func(ctx context.Context, fn func(context.Context) error) error {
			return tidings.Transact(ctx, pgxtx.Transactor(pool), fn)
		},
		begin: func(ctx context.Context) (context.Context, func() error, func() error, error) {
			tx, err := pool.Begin(ctx)
			if err != nil {
				return nil, nil, nil, err
			}
			end := context.WithoutCancel(ctx)
			return tidings.WithTx(ctx, pool, tx), func() error { return tx.Commit(end) }, func() error { return tx.Rollback(end) }, nil
		},
		exec: func(t *testing.T, query string, args ...any) {
			t.Helper()
			_, err := pool.Exec(t.Context(), query, args...)
			require.NoError(t, err, query)
		},
		count: func(t *testing.T, query string, args ...any) (n int) {
			t.Helper()
			require.NoError(t, pool.QueryRow(t.Context(), query, args...).Scan(&n), query)
			return n
		},
		close: pool.Close,
	}
}

func postgresSchema(t *testing.T) string {
	t.Helper()
	return testdb.Postgres(t)
}

// onServer returns the connection string of a schema on another server.
func onServer(t *testing.T, schema, server string) string {
	t.Helper()
	return testdb.InSchema(t, server, testdb.SchemaOf(t, schema))
}

// patience is for what has to come. A follower waits for every transaction of
// the server, also for those that tests of other packages hold open.
const patience = 5 * time.Minute

// A deadline is a context whose deadline passes when the test says so, or once
// the function waits for it whose name is in.
type deadline struct {
	context.Context
	in     string
	once   sync.Once
	passed chan struct{}
}

func newDeadline(t *testing.T) *deadline {
	t.Helper()
	return &deadline{Context: t.Context(), passed: make(chan struct{})}
}

func (d *deadline) pass() { d.once.Do(func() { close(d.passed) }) }

func (d *deadline) Done() <-chan struct{} {
	if d.in != "" && strings.Contains(string(debug.Stack()), d.in+"(") {
		d.pass()
	}
	return d.passed
}

func (d *deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// all reads everything that filters select, and requires that it decodes.
func all(t *testing.T, log *eventlog.Log, filters ...eventlog.Filter) []eventlog.Recorded {
	t.Helper()
	var records []eventlog.Recorded
	for r, err := range log.Read(t.Context(), filters...) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

// numbers returns those of the Accepted events among records, and the
// clients of the Created ones.
func numbers(records []eventlog.Recorded) string {
	var all []string
	for _, r := range records {
		switch e := r.Event.(type) {
		case Accepted:
			all = append(all, e.Number)
		case Created:
			all = append(all, e.Client)
		}
	}
	return strings.Join(all, " ")
}
