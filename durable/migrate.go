package durable

import (
	"context"
	"fmt"
)

// The indexes of Migrate.
var indexes = []statement{
	{
		`CREATE INDEX IF NOT EXISTS {schema}tidings_job_order ON river_job (metadata ->> 'tidings_order', id) WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'`,
		`CREATE INDEX IF NOT EXISTS tidings_job_order ON {schema}river_job ((metadata ->> 'tidings_order'), id) WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed'`,
	},
	{
		`CREATE INDEX IF NOT EXISTS {schema}tidings_job_event ON river_job (args ->> 'id') WHERE args ->> 'specversion' IS NOT NULL`,
		``, // River's own index of args serves
	},
}

// Migrate adds the indexes that [InOrderBy] and [Jobs.Status] need to
// river_job, if they are not there yet. Call it after River's migrations. On
// Postgres it locks the table while it builds one, so on a large table build
// it with CREATE INDEX CONCURRENTLY before:
//
//	CREATE INDEX CONCURRENTLY tidings_job_order ON river_job ((metadata ->> 'tidings_order'), id)
//	WHERE metadata ->> 'tidings_order' IS NOT NULL AND state <> 'completed';
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
