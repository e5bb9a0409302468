package durable

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// watch handles the attempts of this process that River reports and that did
// not complete their job. It returns a channel that is closed once River has
// stopped and all of them are handled.
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

// reported is called with the stored job after an attempt that failed.
func (j *Jobs) reported(ctx context.Context, job *rivertype.JobRow) {
	if !bytes.Contains(job.EncodedArgs, []byte(`"specversion"`)) {
		return // not one of ours
	}
	m, err := metadataOf(job)
	if err != nil {
		m = metadata{} // the worker of the job reports this error
	}
	switch job.State {
	case rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
		if m.Said == job.Attempt {
			return
		}
		if _, err := j.announce(ctx, job.ID); err != nil {
			j.unannounced(ctx, 1, err)
		}
	case rivertype.JobStateAvailable, rivertype.JobStateRetryable, rivertype.JobStateScheduled:
		if m.Skew != nil && m.Skew.Attempt == job.Attempt {
			ctx, cancel := context.WithTimeout(ctx, reportTimeout)
			defer cancel()
			j.correct(ctx, job, *m.Skew)
		}
	}
}

// unannounced logs that dead jobs could not be announced.
func (j *Jobs) unannounced(ctx context.Context, jobs int, err error) {
	j.logger().ErrorContext(ctx, "durable: cannot announce dead jobs; trying again every minute",
		slog.Int("jobs", jobs), slog.Any("error", err))
}

// unsaid is true for a dead job whose death no worker has announced: its handler
// is unknown, River's ErrorHandler or an operator cancelled it, or it was rescued
// after its last attempt.
const (
	unsaidWhere    = ours + " AND " + isDead + " AND "
	unsaidSQLite   = "(metadata ->> 'tidings_said') IS NOT attempt"
	unsaidPostgres = "(metadata ->> 'tidings_said') IS DISTINCT FROM attempt::text"

	// inOrderOfIndex makes the databases read the index of Migrate, which is
	// small where many jobs are dead: they cannot know that.
	inOrderOfIndex = " ORDER BY state, id"
)

// unsaid returns the condition for such jobs.
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

// announceWithin limits a transaction that publishes a JobDied: they run one at
// a time, so a handler that hangs delays the others.
const announceWithin = time.Minute

// announce logs and publishes that a job is dead, in the transaction that
// records it. announced is false if that was done already, or another process
// is doing it.
func (j *Jobs) announce(ctx context.Context, id int64) (announced bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	err = j.transact(ctx, func(ctx context.Context) error {
		tx, err := j.engine.tx(ctx)
		if err != nil {
			return err
		}
		dead := j.unsaid()
		dead.add("id = " + dead.arg(id))
		locked := dead.selected()
		if !j.engine.onSQLite() {
			locked += " FOR UPDATE SKIP LOCKED"
		}
		jobs, err := j.rows(ctx, tx, locked, dead.args)
		if err != nil || len(jobs) == 0 {
			return err
		}
		if _, err := tx.change(ctx, saidSQL, id); err != nil {
			return err
		}
		announced = true
		return j.tell(ctx, jobs[0], jobs[0].causeOfDeath())
	})
	return announced && err == nil, err
}

// announceAll announces all dead jobs that are not announced: River cancels and
// rescues jobs without telling the workers. A job that cannot be announced does
// not block those behind it.
func (j *Jobs) announceAll(ctx context.Context) error {
	left, failed := 0, 0 // of the jobs that were looked at
	var first error
	for ctx.Err() == nil {
		dead := j.unsaid()
		jobs, err := j.rows(ctx, j.engine.pool(), dead.selected()+inOrderOfIndex+" LIMIT "+dead.arg(batchSize)+" OFFSET "+dead.arg(left), dead.args)
		if err != nil {
			return err
		}
		for _, job := range jobs {
			if ctx.Err() != nil {
				break
			}
			announced, err := j.announce(ctx, job.ID)
			if !announced {
				left++
			}
			if err != nil {
				failed, first = failed+1, cmp.Or(first, err)
			}
		}
		if len(jobs) < batchSize {
			break
		}
	}
	if failed > 0 && ctx.Err() == nil {
		j.unannounced(ctx, failed, first)
	}
	return nil
}
