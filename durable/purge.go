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
// and returns how many. Others it leaves alone: for dead ones there is
// [Jobs.Discard].
//
// It is seldom needed, since the workers do the same with what has been done
// for CompletedJobRetentionPeriod, a day unless the configuration of the
// client says otherwise. Purge is for those who want it at once, and for a
// client that keeps what is done, with -1.
//
// In a transaction it deletes in that one. Otherwise it takes a transaction for
// each thousand jobs, so that nobody waits for long, and what it has deleted
// before an error stays deleted and is counted. It may be called concurrently.
func (j *Jobs) Purge(ctx context.Context, before time.Time) (n int, err error) {
	tx, err := j.engine.tx(ctx)
	for err == nil {
		var deleted int
		if tx != nil {
			deleted, err = j.purge(ctx, tx, before)
		} else {
			err = j.transact(ctx, func(ctx context.Context) error {
				tx, err := j.txOf(ctx)
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
