package durable

import (
	"context"
	"fmt"
	"time"
)

// purgeSQL deletes up to $2 jobs that were done before $1.
var purgeSQL = changing(`
DELETE FROM {schema}river_job WHERE id IN (
	SELECT id FROM {schema}river_job
	WHERE `+ours+` AND state = 'completed' AND finalized_at < $1 ORDER BY finalized_at LIMIT $2)
RETURNING NULL`, `
DELETE FROM {schema}river_job WHERE id IN (
	SELECT id FROM {schema}river_job
	WHERE `+ours+` AND state = 'completed' AND finalized_at < $1 ORDER BY finalized_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING NULL::text`)

// Purge deletes the jobs that were done before that time, with their events,
// and returns how many. It deletes no other jobs: for dead ones call
// [Jobs.Discard].
//
// It is rarely needed, since the workers delete jobs that have been done for
// CompletedJobRetentionPeriod, a day unless the client's configuration says
// otherwise. Use Purge to delete them at once, or for a client that keeps done
// jobs, with -1.
//
// In a transaction it deletes within that. Otherwise it uses a transaction for
// each thousand jobs, so that no other transaction waits long; jobs deleted
// before an error stay deleted and are counted. It may be called concurrently.
func (j *Jobs) Purge(ctx context.Context, before time.Time) (n int, err error) {
	tx, err := j.engine.tx(ctx)
	for err == nil {
		var deleted int
		if tx != nil {
			deleted, err = j.purge(ctx, tx, before)
		} else {
			err = j.transact(ctx, func(ctx context.Context) error {
				tx, err := j.engine.tx(ctx)
				if err != nil {
					return err
				}
				deleted, err = j.purge(ctx, tx, before)
				return err
			})
		}
		if err != nil {
			break
		}
		n += deleted
		if deleted < pageSize {
			return n, nil
		}
	}
	return n, fmt.Errorf("durable: Purge: %w", err)
}

func (j *Jobs) purge(ctx context.Context, tx transaction, before time.Time) (int, error) {
	return tx.change(ctx, purgeSQL, dbTime(j.engine, before), pageSize)
}
