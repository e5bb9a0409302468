package durable

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// In River, a process writes by its own clock when the next attempt is due, and
// the database's clock decides when that time has come. So the worker asks the
// database for its time when an attempt fails, and corrects the difference: for
// a clock that is behind at once, and for one that is ahead afterwards, since
// River treats a time before its own as a mistake.

// A skew in the metadata of a job says that its next attempt is due by a clock
// that is not the database's.
type skew struct {
	Attempt int           `json:"attempt"` // as stored with the job
	Ahead   time.Duration `json:"ahead"`   // how much later than requested the next one is due
}

const (
	// leastSkew is the smallest difference that is corrected; less may be the
	// time that the question took.
	leastSkew = 250 * time.Millisecond

	// soon is the longest wait for which River makes a job available before it
	// is due. Later jobs wait for River's scheduler, which runs as often as
	// this.
	soon = 5 * time.Second
)

// ahead returns by how much the clock of the process is ahead of the
// database's, given a reading of the database's clock between two readings of
// ours.
func ahead(before, after, database time.Time) time.Duration {
	ahead := before.Add(after.Sub(before) / 2).Sub(database)
	if ahead.Abs() < leastSkew+after.Sub(before)/2 {
		return 0
	}
	return ahead
}

// countWait records by how much the wait after an attempt must be corrected: by
// NextRetry and, once River has stored the job with that attempt, by correct.
func (w *worker) countWait(ctx context.Context, job *river.Job[delivery], attempt int, ahead time.Duration) {
	if ahead == 0 || w.jobs.draining.Load() { // the clock of a test
		return
	}
	later := ahead
	if ahead < 0 && attempt == job.Attempt && w.ownWait(job) != nil {
		job.Args.behind, later = -ahead, 0
	}
	if err := river.MetadataSet(ctx, skewKey, skew{attempt, later}); err != nil {
		w.jobs.logger().WarnContext(ctx, "durable: a wait is counted by the clock of this process", slog.Int64("job_id", job.ID), slog.Any("error", err))
	}
}

var correctSQL = changing(fmt.Sprintf(correctText, "$2"), fmt.Sprintf(correctText, "$2::text::{schema}river_job_state"))

const correctText = `
UPDATE {schema}river_job SET scheduled_at = $1, state = %s
WHERE id = $3 AND attempt = $4 AND state IN ('available', 'retryable', 'scheduled')
RETURNING CASE WHEN state = 'available' THEN queue END`

// correct makes the next attempt of a job due by the clock of the database.
func (j *Jobs) correct(ctx context.Context, job *rivertype.JobRow, s skew) {
	err := j.transact(ctx, func(ctx context.Context) error {
		tx, err := j.engine.tx(ctx)
		if err != nil {
			return err
		}
		now, err := j.databaseTime(ctx, tx)
		if err != nil {
			return err
		}
		due, state := job.ScheduledAt.Add(-s.Ahead), job.State
		if due.Sub(now) <= soon {
			state = rivertype.JobStateAvailable
		}
		_, err = tx.change(ctx, correctSQL, dbTime(j.engine, due), string(state), job.ID, job.Attempt)
		return err
	})
	if err != nil {
		j.logger().WarnContext(ctx, "durable: a wait is counted by the clock of the process that failed", slog.Int64("job_id", job.ID),
			slog.Duration("ahead", s.Ahead), slog.Any("error", err))
	}
}

var nowSQL = statement{
	`SELECT CAST(unixepoch('subsec') * 1000000 AS integer)`,
	`SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`,
}

func (j *Jobs) databaseTime(ctx context.Context, q querier) (time.Time, error) {
	var micros int64
	err := q.row(ctx, nowSQL.text(j.engine), nil, &micros)
	return time.UnixMicro(micros), err
}
