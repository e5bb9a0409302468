package durabletest_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

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
	"github.com/tidings-go/tidings/durable/durabletest"
	"github.com/tidings-go/tidings/internal/testdb"
	"github.com/tidings-go/tidings/tidingstest"
	"github.com/tidings-go/tidings/tx/pgxtx"
)

// Numbered is the event of the tests.
type Numbered struct {
	tidings.DomainEvent
	Key string `json:"key"`
	N   int    `json:"n"`
}

func newRegistry() *tidings.Registry {
	r := &tidings.Registry{}
	tidings.Register[Numbered](r, "test.numbered", 1)
	durable.Register(r)
	return r
}

// A database is one of a test's own, with River's tables.
type database struct {
	name       string
	transactor tidings.Transactor
	sql        *sql.DB       // nil: pgx
	pool       *pgxpool.Pool // nil: SQLite
}

// each runs test on every database that there is: SQLite, Postgres where the
// application uses database/sql, and Postgres with pgx alone.
func each(t *testing.T, test func(t *testing.T, db database)) {
	t.Helper()
	for _, tt := range []struct {
		name string
		open func(testing.TB) database
	}{{"sqlite", openSQLite}, {"sql", openSQL}, {"pgx", openPgx}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			test(t, tt.open(t))
		})
	}
}

// transact runs fn in a transaction of the application.
func (db database) transact(ctx context.Context, fn func(context.Context) error) error {
	return tidings.Transact(ctx, db.transactor, fn)
}

func openSQLite(t testing.TB) database {
	t.Helper()
	db, err := sql.Open("sqlite", testdb.SQLite(filepath.Join(t.TempDir(), "jobs.db"), "_txlock=immediate", "_pragma=synchronous(OFF)"))
	require.NoError(t, err)
	db.SetMaxOpenConns(1) // the way that River asks for
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	migrate(t, riversqlite.New(db))
	return database{name: "sqlite", sql: db, transactor: tidings.SQL(db)}
}

func openSQL(t testing.TB) database {
	t.Helper()
	h := openPgx(t)
	db, err := sql.Open("pgx", h.pool.Config().ConnString())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	h.name, h.sql, h.transactor = "sql", db, tidings.SQL(db)
	return h
}

func openPgx(t testing.TB) database {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testdb.Postgres(t))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	migrate(t, riverpgxv5.New(pool))
	return database{name: "pgx", pool: pool, transactor: pgxtx.Transactor(pool)}
}

func migrate[TTx any](t testing.TB, driver riverdriver.Driver[TTx]) {
	t.Helper()
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
}

// A rig is a bus with durable handlers.
type rig struct {
	database
	clock  *tidingstest.Clock
	config *river.Config
	jobs   *durable.Jobs
	bus    *tidings.EventBus
	client client
}

// A client is a river.Client of either transaction.
type client interface {
	Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error)
	JobList(ctx context.Context, params *river.JobListParams) (*river.JobListResult, error)
	JobDelete(ctx context.Context, id int64) (*rivertype.JobRow, error)
	QueuePause(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	QueueResume(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	Queues() *river.QueueBundle
}

// start is when the clocks of the tests start, unless they say otherwise.
var start = time.Date(2026, 3, 1, 9, 0, 0, 123_456_789, time.UTC)

func newRig(t testing.TB, db database, config *river.Config) *rig {
	t.Helper()
	return newRigAt(t, db, config, start)
}

func newRigAt(t testing.TB, db database, config *river.Config, at time.Time) *rig {
	t.Helper()
	r := &rig{database: db, clock: tidingstest.NewClock(at), config: config}
	durabletest.Configure(config, r.clock.Now)
	r.client, r.jobs = r.connect(t, config, durable.WithClock(r.clock.Now))
	require.NoError(t, r.jobs.Migrate(t.Context()))
	r.bus = tidingstest.NewBus(t, tidings.WithClock(r.clock.Now))
	return r
}

// connect makes another client, and its jobs.
func (r *rig) connect(t testing.TB, config *river.Config, opts ...durable.Option) (client, *durable.Jobs) {
	t.Helper()
	opts = append([]durable.Option{durable.WithLogger(slog.New(slog.DiscardHandler))}, opts...)
	if r.pool != nil {
		return connect(t, r.database, riverpgxv5.New(r.pool), config, opts)
	}
	return connect(t, r.database, riversqlite.New(r.sql), config, opts)
}

func connect[TTx any](t testing.TB, db database, driver riverdriver.Driver[TTx], config *river.Config, opts []durable.Option) (client, *durable.Jobs) {
	t.Helper()
	c, err := river.NewClient(driver, config)
	require.NoError(t, err)
	jobs, err := durable.New(c, config.Workers, db.transactor, newRegistry(), opts...)
	require.NoError(t, err)
	return c, jobs
}

// publish publishes events in a transaction.
func (r *rig) publish(t testing.TB, events ...Numbered) {
	t.Helper()
	require.NoError(t, r.transact(t.Context(), func(ctx context.Context) error {
		for _, e := range events {
			if err := tidings.Publish(ctx, r.bus, e); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (r *rig) drain(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // SQLite in pure Go is slow under -race
	defer cancel()
	require.NoError(t, durabletest.Drain(ctx, r.jobs))
}

// states counts the jobs by state.
func (r *rig) states(t testing.TB) map[rivertype.JobState]int {
	t.Helper()
	list, err := r.client.JobList(t.Context(), river.NewJobListParams().First(10_000))
	require.NoError(t, err)
	states := map[rivertype.JobState]int{}
	for _, job := range list.Jobs {
		states[job.State]++
	}
	return states
}

// A journal notes what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last call.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// noted returns a handler that notes the events which it gets, and then does
// what do says, if that is not nil.
func (j *journal) noted(name string, do func(context.Context, Numbered) error) func(context.Context, Numbered) error {
	return func(ctx context.Context, e Numbered) error {
		j.add("%s %s%d", name, e.Key, e.N)
		if do == nil {
			return nil
		}
		return do(ctx, e)
	}
}

// leaders counts the clients that River's maintenance is for.
func (r *rig) leaders(t testing.TB) (n int) {
	t.Helper()
	const query = "SELECT count(*) FROM river_leader"
	if r.sql != nil {
		require.NoError(t, r.sql.QueryRowContext(t.Context(), query).Scan(&n))
	} else {
		require.NoError(t, r.pool.QueryRow(t.Context(), query).Scan(&n))
	}
	return n
}
