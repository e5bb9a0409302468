package durable

import (
	"context"
	"fmt"
)

// The indexes that Migrate creates.
var indexes = []statement{
	{
		`CREATE INDEX IF NOT EXISTS {schema}tidings_job_order ON river_job (metadata ->> 'tidings_order', id) WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'`,
		createOnce("tidings_job_order", "((metadata ->> 'tidings_order'), id) WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'"),
	},
	{
		`CREATE INDEX IF NOT EXISTS {schema}tidings_job_event ON river_job (args ->> 'id') WHERE args ->> 'specversion' IS NOT NULL`,
		``, // River's own index of args serves this
	},
	{ // for announceAll, which looks for very few rows among many dead jobs
		`CREATE INDEX IF NOT EXISTS {schema}tidings_dead_unsaid ON river_job (state, id) WHERE ` + unsaidWhere + unsaidSQLite,
		createOnce("tidings_dead_unsaid", "(state, id) WHERE "+unsaidWhere+unsaidPostgres),
	},
}

// createOnce returns SQL that creates an index on Postgres. If two processes
// built it at once, one would fail, so they take turns with a lock of arbitrary
// number. IF NOT EXISTS would wait for all transactions that write to the
// table, and block all others.
//
// An index that is not valid was left by a CREATE INDEX CONCURRENTLY that
// failed, and serves no query; or it is still being built, and is left alone.
// (The view hides the relid of other roles.)
func createOnce(name, on string) string {
	return `DO $$
	DECLARE
		found regclass;
		valid boolean;
	BEGIN
		PERFORM pg_advisory_xact_lock(8207156340179);
		SELECT indexrelid, indisvalid INTO found, valid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
		WHERE indrelid = '{schema}river_job'::regclass AND relname = '` + name + `';
		IF NOT valid AND NOT EXISTS (
			SELECT FROM pg_stat_progress_create_index
			WHERE datname = current_database() AND (index_relid = found OR relid IS NULL)
		) THEN
			EXECUTE 'DROP INDEX ' || found;
			found := NULL;
		END IF;
		IF found IS NULL THEN
			CREATE INDEX ` + name + ` ON {schema}river_job ` + on + `;
		END IF;
	END $$`
}

// indexedSQL returns whether there is an index that serves [InOrderBy].
var indexedSQL = statement{
	`SELECT count(*) FROM {schema}sqlite_master WHERE type = 'index' AND name = 'tidings_job_order'`,
	`SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
	WHERE indrelid = '{schema}river_job'::regclass AND relname = 'tidings_job_order' AND indisvalid`,
}

// Migrate adds the indexes to river_job, if they are missing, that [InOrderBy],
// [Jobs.Status] and the search for dead jobs not announced yet need, see
// [JobDied]. Call it after River's migrations, in each process if you like. On
// Postgres it locks the table while it builds an index, so on a large table
// build them with CREATE INDEX CONCURRENTLY before:
//
//	CREATE INDEX CONCURRENTLY tidings_job_order ON river_job ((metadata ->> 'tidings_order'), id)
//	WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed';
//
//	CREATE INDEX CONCURRENTLY tidings_dead_unsaid ON river_job (state, id)
//	WHERE args ->> 'specversion' IS NOT NULL AND state IN ('cancelled', 'discarded')
//	AND (metadata ->> 'tidings_said') IS DISTINCT FROM attempt::text;
//
// If that fails it leaves an index that is not valid, which Migrate drops and
// builds anew.
func (j *Jobs) Migrate(ctx context.Context) error {
	for _, s := range indexes {
		query := s.text(j.engine)
		if query == "" {
			continue
		}
		if err := j.engine.exec(ctx, query); err != nil {
			return fmt.Errorf("durable: Migrate: %w", err)
		}
	}
	return nil
}
