package durable

import (
	"context"
	"fmt"
)

// The indexes of Migrate.
var indexes = []statement{
	{
		`CREATE INDEX IF NOT EXISTS {schema}tidings_job_order ON river_job (metadata ->> 'tidings_order', id) WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'`,
		createOnce("tidings_job_order", "((metadata ->> 'tidings_order'), id) WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'"),
	},
	{
		`CREATE INDEX IF NOT EXISTS {schema}tidings_job_event ON river_job (args ->> 'id') WHERE args ->> 'specversion' IS NOT NULL`,
		``, // River's own index of args serves
	},
	{ // of what announceAll looks for, which is next to nothing among many dead jobs
		`CREATE INDEX IF NOT EXISTS {schema}tidings_dead_unsaid ON river_job (state, id) WHERE ` + unsaidWhere + unsaidSQLite,
		createOnce("tidings_dead_unsaid", "(state, id) WHERE "+unsaidWhere+unsaidPostgres),
	},
}

// createOnce returns what creates an index on Postgres. Of two that build it at
// once one would fail, so they take turns; the number of the lock is an
// arbitrary one of our own. And IF NOT EXISTS would wait for all who write to
// the table, and all others for it.
//
// An index that is not valid is what a CREATE INDEX CONCURRENTLY has left that
// failed, and serves no query; or one is at work on it, which is left alone. (Of
// other roles the view shows no relid.)
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

// indexedSQL says whether there is an index that serves [InOrderBy].
var indexedSQL = statement{
	`SELECT count(*) FROM {schema}sqlite_master WHERE type = 'index' AND name = 'tidings_job_order'`,
	`SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
	WHERE indrelid = '{schema}river_job'::regclass AND relname = 'tidings_job_order' AND indisvalid`,
}

// Migrate adds to river_job the indexes that [InOrderBy], [Jobs.Status] and the
// search for deaths that are not known yet need, see [JobDied], if they are not
// there yet. Call it after River's migrations, in each process if you like. On
// Postgres it locks the table while it builds one, so on a large table build
// them with CREATE INDEX CONCURRENTLY before:
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
