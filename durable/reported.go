package durable

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// watch follows up the attempts of this process that River reports and that did
// not complete their job. It returns a channel that is closed once River has
// stopped and all of them are followed up.
func (j *Jobs) watch(ctx context.Context) <-chan struct{} {
	failures, _ := j.engine.subscribe(&river.SubscribeConfig{
		ChanSize: 10_000,
		Kinds:    []river.EventKind{river.EventKindJobFailed, river.EventKindJobCancelled, river.EventKindJobSnoozed},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range failures { // River closes it
			j.reported(ctx, e.Job)
		}
	}()
	return done
}

// reported is called with a job after an attempt that failed, as it is stored.
func (j *Jobs) reported(ctx context.Context, job *rivertype.JobRow) {
	if !bytes.Contains(job.EncodedArgs, []byte(`"specversion"`)) {
		return // not one of ours
	}
	m, err := metadataOf(job)
	if err != nil {
		m = metadata{} // the worker of the job reports that
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	switch job.State {
	case rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
		if m.Said != job.Attempt {
			j.announce(ctx, job.ID)
		}
	case rivertype.JobStateAvailable, rivertype.JobStateRetryable, rivertype.JobStateScheduled:
		if m.Skew != nil && m.Skew.Attempt == job.Attempt {
			j.correct(ctx, job, *m.Skew)
		}
	}
}

// unsaid is true for a dead job whose death no worker has announced: its handler
// is unknown, River's ErrorHandler or an operator cancelled it, or it was rescued
// after its last attempt.
const (
	unsaidWhere    = ours + " AND " + isDead + " AND "
	unsaidSQLite   = "(metadata ->> 'tidings_said') IS NOT attempt"
	unsaidPostgres = "(metadata ->> 'tidings_said') IS DISTINCT FROM attempt::text"

	// inOrderOfIndex has the databases read the index of Migrate, which is
	// small where many jobs are dead: they cannot know that.
	inOrderOfIndex = " ORDER BY state, id"
)

// unsaid returns the condition for these jobs.
func (j *Jobs) unsaid() conditions {
	if j.engine.onSQLite() {
		return conditions{engine: j.engine, texts: []string{unsaidWhere + unsaidSQLite}}
	}
	return conditions{engine: j.engine, texts: []string{unsaidWhere + unsaidPostgres}}
}

var saidSQL = changing(`
UPDATE {schema}river_job SET metadata = jsonb_set(metadata, '$.tidings_said', attempt) WHERE id = $1
RETURNING NULL`, `
UPDATE {schema}river_job SET metadata = metadata || jsonb_build_object('tidings_said', attempt) WHERE id = $1
RETURNING NULL::text`)

// announce logs and publishes that a job is dead, unless that is done already, in
// the transaction that notes it.
func (j *Jobs) announce(ctx context.Context, id int64) {
	err := j.transact(ctx, func(ctx context.Context) error {
		tx, err := j.txOf(ctx)
		if err != nil {
			return err
		}
		dead := j.unsaid()
		dead.add("id = " + dead.arg(id))
		locked := dead.selected()
		if !j.engine.onSQLite() {
			locked += " FOR UPDATE SKIP LOCKED" // another process is about to say it
		}
		jobs, err := j.rows(ctx, tx, locked, dead.args)
		if err != nil || len(jobs) == 0 {
			return err
		}
		if _, err := tx.change(ctx, saidSQL, id); err != nil {
			return err
		}
		return j.tell(ctx, jobs[0], jobs[0].causeOfDeath())
	})
	if err != nil {
		j.logger().ErrorContext(ctx, "durable: it could not be made known that a job is dead", slog.Int64("job_id", id), slog.Any("error", err))
	}
}

// announceAll does that for all dead jobs that are not announced: River cancels
// and rescues jobs without telling the workers.
func (j *Jobs) announceAll(ctx context.Context) error {
	dead := j.unsaid()
	jobs, err := j.rows(ctx, j.engine.pool(), dead.selected()+inOrderOfIndex+" LIMIT "+dead.arg(batchSize), dead.args)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if ctx.Err() != nil {
			break
		}
		j.announce(ctx, job.ID)
	}
	return nil
}
