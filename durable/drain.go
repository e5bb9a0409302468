package durable

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings/durable/internal/drain"
)

func init() {
	drain.EngineOf = func(jobs any) drain.Engine { return &drained{Jobs: jobs.(*Jobs)} }
}

// drained is the part of a [Jobs] that package durabletest may use.
type drained struct {
	*Jobs
	resign func(context.Context) error
}

// A drainable is an engine with methods that Jobs itself does not need.
type drainable interface {
	queues() *river.QueueBundle
	list(ctx context.Context, params *river.JobListParams) (*river.JobListResult, error)
	schedule(ctx context.Context, now time.Time) error
	lead(ctx context.Context, now time.Time) (resign func(context.Context) error, err error)
}

func (e *riverEngine[TTx]) queues() *river.QueueBundle { return e.client.Queues() }

func (e *riverEngine[TTx]) list(ctx context.Context, params *river.JobListParams) (*river.JobListResult, error) {
	return e.client.JobList(ctx, params)
}

// schedule does what River's scheduler does every 5 s.
func (e *riverEngine[TTx]) schedule(ctx context.Context, now time.Time) error {
	const most = 10_000
	for {
		moved, err := e.driver.GetExecutor().JobSchedule(ctx, &riverdriver.JobScheduleParams{Max: most, Now: &now, Schema: e.schema()})
		if err != nil || len(moved) < most {
			return err
		}
	}
}

// lead keeps River's maintenance from running until resign is called: only the
// leader among the clients runs it. It would rescue running jobs, since it
// compares their start with the clock of the machine, and at random times
// insert periodic jobs and delete old ones.
func (e *riverEngine[TTx]) lead(ctx context.Context, now time.Time) (resign func(context.Context) error, err error) {
	const (
		id    = "durabletest"
		term  = time.Hour // if the process dies before it resigns
		topic = "river_leadership"
	)
	exec := e.driver.GetExecutor()
	if _, err := exec.LeaderDeleteExpired(ctx, &riverdriver.LeaderDeleteExpiredParams{Now: &now, Schema: e.schema()}); err != nil {
		return nil, err
	}
	leader, err := exec.LeaderAttemptElect(ctx, &riverdriver.LeaderElectParams{LeaderID: id, Now: &now, Schema: e.schema(), TTL: term})
	if errors.Is(err, rivertype.ErrNotFound) { // another client leads
		return func(context.Context) error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := exec.LeaderResign(ctx, &riverdriver.LeaderResignParams{
			ElectedAt: leader.ElectedAt, LeaderID: id, LeadershipTopic: topic, Schema: e.schema(),
		})
		return err
	}, nil
}

func (d *drained) Acquire() error {
	if !d.draining.CompareAndSwap(false, true) {
		return errors.New("another Drain works these jobs")
	}
	d.running.mu.Lock()
	defer d.running.mu.Unlock()
	if d.running.runningLocked() {
		d.draining.Store(false)
		return errors.New("the workers are started: leave Start out, or call Close before")
	}
	return nil
}

func (d *drained) Release() { d.draining.Store(false) }

// shortestWait is the minimum wait of a Backoff or a RetryAfter.
func (j *Jobs) shortestWait() time.Duration {
	if j.draining.Load() {
		return drain.Shortest
	}
	return 0
}

func (d *drained) Workers() *river.Workers    { return d.workers }
func (d *drained) Now() time.Time             { return d.now() }
func (d *drained) Queues() *river.QueueBundle { return d.engine.(drainable).queues() }

func (d *drained) Start(ctx context.Context) (err error) {
	if d.resign, err = d.engine.(drainable).lead(ctx, d.now()); err != nil {
		return err
	}
	return d.Jobs.Start(ctx)
}

func (d *drained) Stop(ctx context.Context) error {
	err := d.Jobs.Close(ctx)
	if d.resign == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hardStop)
	defer cancel()
	return errors.Join(err, d.resign(ctx))
}

func (d *drained) Promote(ctx context.Context) error {
	if err := d.repairLines(ctx); err != nil {
		return err
	}
	return d.engine.(drainable).schedule(ctx, d.now())
}

var dueSQL = statement{sqlite: `
SELECT json_group_array(json_object('name', name, 'paused', json(iif(paused, 'true', 'false'))))
FROM (SELECT DISTINCT queue AS name, EXISTS (SELECT 1 FROM {schema}river_queue AS q WHERE q.name = job.queue AND q.paused_at IS NOT NULL) AS paused
	FROM {schema}river_job AS job WHERE state = 'available' AND scheduled_at <= $1) AS due`, postgres: `
SELECT coalesce(json_agg(json_build_object('name', name, 'paused', paused)), '[]')::text
FROM (SELECT DISTINCT queue AS name, EXISTS (SELECT 1 FROM {schema}river_queue AS q WHERE q.name = job.queue AND q.paused_at IS NOT NULL) AS paused
	FROM {schema}river_job AS job WHERE state = 'available' AND scheduled_at <= $1) AS due`}

func (d *drained) Due(ctx context.Context) ([]drain.Queue, error) {
	var text string
	if err := d.engine.pool().row(ctx, dueSQL.text(d.engine), []any{d.dbTime()}, &text); err != nil {
		return nil, err
	}
	var queues []drain.Queue
	err := json.Unmarshal([]byte(text), &queues)
	return queues, err
}

func (d *drained) Left(ctx context.Context) ([]*rivertype.JobRow, error) {
	const most = 1000
	list, err := d.engine.(drainable).list(ctx, river.NewJobListParams().
		States(rivertype.JobStateAvailable, rivertype.JobStateRunning, rivertype.JobStateRetryable, rivertype.JobStateScheduled).
		OrderBy(river.JobListOrderByID, river.SortOrderAsc).First(most))
	if err != nil {
		return nil, err
	}
	var left []*rivertype.JobRow
	now := d.now()
	if d.engine.onSQLite() {
		now = now.Round(time.Millisecond) // as SQLite stores it
	}
	for _, job := range list.Jobs {
		if job.State == rivertype.JobStateRunning || !job.ScheduledAt.After(now) {
			left = append(left, job)
		}
	}
	return left, nil
}
