package durable_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/durable"
)

func indexes(t testing.TB, h harness) int {
	t.Helper()
	if h.postgres() {
		return h.count(t, `SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'tidings\_%'`)
	}
	return h.count(t, `SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name LIKE 'tidings\_%' ESCAPE '\'`)
}

func dropIndexes(t testing.TB, h harness) {
	t.Helper()
	for _, index := range []string{"tidings_job_order", "tidings_job_event", "tidings_dead_unsaid"} {
		require.NoError(t, h.exec(t.Context(), "DROP INDEX IF EXISTS "+index))
	}
	require.Zero(t, indexes(t, h))
}

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		want := 2
		if !h.postgres() {
			want = 3
		}
		for range 5 {
			dropIndexes(t, h)
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					if err := jobs.Migrate(t.Context()); err != nil {
						t.Errorf("Migrate: %v", err)
					}
				})
			}
			wg.Wait()
			require.Equal(t, want, indexes(t, h))
		}
	})
}

// A process that starts does not wait for a transaction that has written to
// the table, nor make others wait.
func TestMigrateAgainWaitsForNobody(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, h harness) {
		jobs := h.jobs(t, river.Config{})
		require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
			if err := h.exec(ctx, `UPDATE river_job SET priority = 2`); err != nil {
				return err
			}
			return within(t, time.Minute, "Migrate", func() error { return jobs.Migrate(t.Context()) })
		}))
	})
}

const concurrently = `CREATE INDEX CONCURRENTLY tidings_job_order ON river_job ((metadata ->> 'tidings_order'), id)
	WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'`

const validIndexes = `SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
	WHERE indrelid = 'river_job'::regclass AND relname = 'tidings_job_order' AND indisvalid`

// CREATE INDEX CONCURRENTLY waits for all transactions that have written to the
// table. One that gives up leaves an index that serves no query.
func TestMigrateAfterAFailure(t *testing.T) {
	t.Parallel()
	h := openPgx(t)
	jobs := h.jobs(t, river.Config{})
	require.NoError(t, h.exec(t.Context(), "DROP INDEX tidings_job_order"))
	require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, h.exec(ctx, `UPDATE river_job SET priority = 2`))
		conn, err := h.pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
		_, err = conn.Exec(t.Context(), `SET statement_timeout = 100`)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), concurrently)
		require.ErrorContains(t, err, "statement timeout")
		_, err = conn.Exec(t.Context(), `SET statement_timeout = 0`)
		require.NoError(t, err)
		return nil
	}))
	require.Equal(t, 2, indexes(t, h))
	require.Zero(t, h.count(t, validIndexes))

	logs := &logBuffer{}
	ordered := h.jobsWithoutMigrate(t, durable.WithLogger(logs.logger()))
	tidings.Subscribe(tidings.New(), nothing[Accepted], tidings.Named("crm.work"), tidings.Via(ordered), inOrder)
	start(t, ordered)
	require.True(t, logs.has("level=WARN", "the index for InOrderBy is missing"), logs)

	require.NoError(t, jobs.Migrate(t.Context()))
	require.Equal(t, 1, h.count(t, validIndexes))
	require.NoError(t, jobs.Migrate(t.Context()), "again")
	require.Equal(t, 2, indexes(t, h))
}

// One that is still being built is not valid either, and is left alone.
func TestMigrateWhileTheIndexIsBuilt(t *testing.T) {
	t.Parallel()
	h := openPgx(t)
	jobs := h.jobs(t, river.Config{})
	require.NoError(t, h.exec(t.Context(), "DROP INDEX tidings_job_order"))
	built := make(chan error, 1)
	require.NoError(t, h.transact(t.Context(), func(ctx context.Context) error {
		require.NoError(t, h.exec(ctx, `UPDATE river_job SET priority = 2`))
		go func() { built <- h.exec(t.Context(), concurrently) }()
		require.Eventually(t, func() bool { return indexes(t, h) == 2 }, time.Minute, 5*time.Millisecond)
		return within(t, time.Minute, "Migrate", func() error { return jobs.Migrate(t.Context()) })
	}))
	require.NoError(t, <-built)
	require.Equal(t, 1, h.count(t, validIndexes))
}

func TestMigrateBeforeRiver(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		h := sqliteAt(t, filepath.Join(t.TempDir(), "jobs.db"))
		requireNoTable(t, func() (*durable.Jobs, error) {
			c, err := river.NewClient(riversqlite.New(h.sql), &river.Config{})
			require.NoError(t, err)
			return durable.New(c, nil, h.transactor, newRegistry())
		})
	})
	t.Run("pgx", func(t *testing.T) {
		t.Parallel()
		h := pgxAt(t, postgresSchema(t))
		requireNoTable(t, func() (*durable.Jobs, error) {
			c, err := river.NewClient(riverpgxv5.New(h.pool), &river.Config{})
			require.NoError(t, err)
			return durable.New(c, nil, h.transactor, newRegistry())
		})
	})
}

// jobsWithoutMigrate returns the transport of a process that leaves that out.
func (h harness) jobsWithoutMigrate(t testing.TB, opts ...durable.Option) *durable.Jobs {
	t.Helper()
	config := durable.Configure(&river.Config{Queues: queuesOf(river.QueueDefault), TestOnly: true})
	jobs := newOf(t, h, riverpgxv5.New(h.pool), config, opts...)
	t.Cleanup(func() { stop(t, jobs) })
	return jobs
}

func requireNoTable(t *testing.T, open func() (*durable.Jobs, error)) {
	t.Helper()
	jobs, err := open()
	require.NoError(t, err)
	err = jobs.Migrate(t.Context())
	require.ErrorContains(t, err, "durable: Migrate: ")
	require.ErrorContains(t, err, "river_job")
}

// withoutWorkers returns the transport of a process that only publishes.
func withoutWorkers(t testing.TB, h harness) *durable.Jobs {
	t.Helper()
	config := durable.Configure(&river.Config{})
	if h.postgres() {
		c, err := river.NewClient(riverpgxv5.New(h.pool), config)
		require.NoError(t, err)
		jobs, err := durable.New(c, nil, h.transactor, newRegistry())
		require.NoError(t, err)
		return jobs
	}
	c, err := river.NewClient(riversqlite.New(h.sql), config)
	require.NoError(t, err)
	jobs, err := durable.New(c, nil, h.transactor, newRegistry())
	require.NoError(t, err)
	return jobs
}
