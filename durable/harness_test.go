package durable_test

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/eventlog"
	"github.com/tidings-go/tidings/eventlog/pgxlog"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/internal/testmain"
	"github.com/tidings-go/tidings/tidingstest/transporttest"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

func TestMain(m *testing.M) { testmain.Run(m) }

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
	tidings.Register[transporttest.Counted](r, "tidingstest.counted", 1)
	tidings.Register[transporttest.Described](r, "tidingstest.described", 1)
	durable.Register(r)
	return r
}

// A harness is a database of a test's own, with River's tables, as an
// application with one driver sees it:
//
//	sqlite  database/sql, and River through the same *sql.DB
//	sql     database/sql on Postgres, and River through a pgx pool
//	pgx     pgx, and River through the same pool
type harness struct {
	name string
	url  string        // opens the same database once more: a file, or a connection string
	sql  *sql.DB       // nil for pgx
	pool *pgxpool.Pool // nil for sqlite

	transactor tidings.Transactor
	log        eventlog.Database
	// exec runs a statement in the transaction of ctx, or else on the pool.
	// Its placeholders are $1, $2.
	exec func(ctx context.Context, query string, args ...any) error
	// count returns the result of a query that counts, outside of any
	// transaction.
	count func(t testing.TB, query string, args ...any) int
}

// transact runs fn in a transaction of the application.
func (h harness) transact(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, h.transactor, fn)
}

// hasTx reports whether ctx is in a transaction.
func hasTx(ctx context.Context) bool {
	_, in := tidings.TxDatabase(ctx)
	return in
}

func (h harness) postgres() bool { return h.name != "sqlite" }

// jobs returns the transport, with a client that has that configuration; an
// empty one works the default queue with 10 workers.
func (h harness) jobs(t testing.TB, config river.Config, opts ...durable.Option) *durable.Jobs {
	t.Helper()
	jobs, _ := h.jobsAndClient(t, config, opts...)
	return jobs
}

// A client is a river.Client of either transaction.
type client interface {
	JobGet(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobList(ctx context.Context, params *river.JobListParams) (*river.JobListResult, error)
	JobDelete(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobCancel(ctx context.Context, id int64) (*rivertype.JobRow, error)
	Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error)
}

func (h harness) jobsAndClient(t testing.TB, config river.Config, opts ...durable.Option) (*durable.Jobs, client) {
	t.Helper()
	if config.Queues == nil {
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}
	}
	if config.FetchCooldown == 0 {
		config.FetchCooldown, config.FetchPollInterval = 5*time.Millisecond, 50*time.Millisecond
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.TestOnly = true
	durable.Configure(&config)
	opts = append([]durable.Option{durable.WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	if h.postgres() {
		return newJobs(t, h, riverpgxv5.New(h.pool), &config, opts)
	}
	return newJobs(t, h, riversqlite.New(h.sql), &config, opts)
}

func newJobs[TTx any](t testing.TB, h harness, driver riverdriver.Driver[TTx], config *river.Config, opts []durable.Option) (*durable.Jobs, client) {
	t.Helper()
	c, err := river.NewClient(driver, config)
	require.NoError(t, err)
	jobs, err := durable.New(c, config.Workers, h.transactor, newRegistry(), opts...)
	require.NoError(t, err)
	require.NoError(t, jobs.Migrate(t.Context()))
	t.Cleanup(func() { stop(t, jobs) })
	return jobs, c
}

// start starts the workers, which the end of the test stops.
func start(t testing.TB, jobs *durable.Jobs) {
	t.Helper()
	require.NoError(t, jobs.Start(t.Context()))
}

func stop(t testing.TB, jobs *durable.Jobs) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, jobs.Close(ctx))
}

// each runs test on every database that there is.
func each(t *testing.T, test func(t *testing.T, h harness)) {
	t.Helper()
	for _, tt := range []struct {
		name string
		open func(testing.TB) harness
	}{{"sqlite", openSQLite}, {"sql", openSQL}, {"pgx", openPgx}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			test(t, tt.open(t))
		})
	}
}

// openAt opens the database at the url of a harness of that name.
func openAt(t testing.TB, name, url string) harness {
	t.Helper()
	switch name {
	case "sqlite":
		return sqliteAt(t, url)
	case "sql":
		return sqlAt(t, url)
	case "pgx":
		return pgxAt(t, url)
	}
	t.Fatalf("no database is called %q", name)
	return harness{}
}

func openSQLite(t testing.TB) harness {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jobs.db")
	require.NoError(t, os.WriteFile(path, migrated(t), 0o600))
	return sqliteAt(t, path)
}

// migrated returns a file with River's tables. To make them takes longer than
// most tests, if looking for races.
func migrated(t testing.TB) []byte {
	t.Helper()
	template.once.Do(func() {
		path := filepath.Join(t.TempDir(), "template.db")
		h := sqliteAt(t, path)
		migrate(t, riversqlite.New(h.sql))
		require.NoError(t, h.sql.Close()) // which writes the WAL back
		var err error
		template.file, err = os.ReadFile(path)
		require.NoError(t, err)
	})
	require.NotEmpty(t, template.file, "the first test that needed it has failed")
	return template.file
}

var template struct {
	once sync.Once
	file []byte
}

func openSQL(t testing.TB) harness {
	t.Helper()
	h := sqlAt(t, postgresSchema(t))
	migrate(t, riverpgxv5.New(h.pool))
	return h
}

func openPgx(t testing.TB) harness {
	t.Helper()
	h := pgxAt(t, postgresSchema(t))
	migrate(t, riverpgxv5.New(h.pool))
	return h
}

func migrate[TTx any](t testing.TB, driver riverdriver.Driver[TTx]) {
	t.Helper()
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
}

// sqliteAt opens a database file, a second time too.
func sqliteAt(t testing.TB, path string) harness {
	t.Helper()
	db, err := sql.Open("sqlite", testdb.SQLite(path, "_pragma=synchronous(NORMAL)", "_txlock=immediate"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return sqlHarness(harness{name: "sqlite", url: path, log: eventlog.SQLite(db)}, db)
}

func sqlAt(t testing.TB, url string) harness {
	t.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	db.SetMaxOpenConns(12)
	db.SetMaxIdleConns(12) // to connect costs more than most tests do
	t.Cleanup(func() { _ = db.Close() })
	return sqlHarness(harness{name: "sql", url: url, pool: newPool(t, url), log: eventlog.Postgres(db)}, db)
}

func sqlHarness(h harness, db *sql.DB) harness {
	h.sql = db
	h.transactor = tidings.SQL(db)
	h.exec = func(ctx context.Context, query string, args ...any) (err error) {
		if tx, ok := tidings.TxFrom[*sql.Tx](ctx, db); ok {
			_, err = tx.ExecContext(ctx, query, args...)
		} else {
			_, err = db.ExecContext(ctx, query, args...)
		}
		return err
	}
	h.count = func(t testing.TB, query string, args ...any) (n int) {
		t.Helper()
		require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n), query)
		return n
	}
	return h
}

func newPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func pgxAt(t testing.TB, url string) harness {
	t.Helper()
	pool := newPool(t, url)
	return harness{
		name: "pgx", url: url, pool: pool, log: pgxlog.Postgres(pool),
		transactor: pgxtx.Transactor(pool),
		exec: func(ctx context.Context, query string, args ...any) (err error) {
			if tx, ok := tidings.TxFrom[pgx.Tx](ctx, pool); ok {
				_, err = tx.Exec(ctx, query, args...)
			} else {
				_, err = pool.Exec(ctx, query, args...)
			}
			return err
		},
		count: func(t testing.TB, query string, args ...any) (n int) {
			t.Helper()
			require.NoError(t, pool.QueryRow(t.Context(), query, args...).Scan(&n), query)
			return n
		},
	}
}

// postgresSchema makes a schema for the test, and returns the connection
// string that uses it.
func postgresSchema(t testing.TB) string {
	t.Helper()
	return testdb.Postgres(t)
}
