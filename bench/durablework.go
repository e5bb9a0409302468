package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const keyDurableWork = "durable-work"

// DurableJobs is how many jobs wait when the workers start, unless the plan
// says otherwise.
const DurableJobs = 5_000

func (p Plan) jobs() int {
	if p.Jobs > 0 {
		return p.Jobs
	}
	return DurableJobs
}

// mostOfARun is longer than any; a run that takes as long has lost a job.
const mostOfARun = 5 * time.Minute

// A DurableWorkCost is what working a job takes.
type DurableWorkCost struct {
	Database string
	Jobs     int    // that waited when the workers started
	Bare     Sample // per job: River's worker, with JobCompleteTx
	Ours     Sample // per job: a durable handler
}

// Ratio returns how many jobs ours works in the time that the bare workers
// take for one.
func (c DurableWorkCost) Ratio() float64 { return c.Bare.NS / c.Ours.NS }

// PerSecond returns how many there are of what takes s.
func (s Sample) PerSecond() float64 { return 1e9 / s.NS }

// DurableWorkCosts measures on every database that there is: medians over
// plan.Count rounds in which the two take turns, with new tables each time.
// left is what it has left out, and why.
func DurableWorkCosts(plan Plan) (costs []DurableWorkCost, left []string, err error) {
	return onJobDatabases(keyDurableWork,
		func() (DurableWorkCost, error) { return workCosts(plan, onSQLite, jobsOnSQLite("NORMAL")) },
		func() (DurableWorkCost, error) { return workCosts(plan, onPgx, jobsOnPgx) })
}

// onJobDatabases measures on SQLite, and on Postgres if there is one.
func onJobDatabases[Cost any](key string, sqlite, postgres func() (Cost, error)) (costs []Cost, left []string, err error) {
	cost, err := sqlite()
	if err != nil {
		return nil, nil, err
	}
	costs = append(costs, cost)
	if why := withoutPostgres(); why != "" {
		return costs, []string{fmt.Sprintf("%s on Postgres: %s", key, why)}, nil
	}
	if cost, err = postgres(); err != nil {
		return nil, nil, err
	}
	return append(costs, cost), nil, nil
}

func workCosts[TTx any](plan Plan, database string, open jobDBFunc[TTx]) (DurableWorkCost, error) {
	subjects := []crewFunc[TTx]{bareCrew[TTx], durableCrew[TTx]}
	samples := make([][]Sample, len(subjects))
	for round := range plan.Count {
		for i := range subjects {
			i = (i + round) % len(subjects)
			sample, err := workJobs(open, subjects[i], plan.jobs())
			if err != nil {
				return DurableWorkCost{}, fmt.Errorf("case %s: %s: %w", keyDurableWork, database, err)
			}
			samples[i] = append(samples[i], sample)
		}
	}
	return DurableWorkCost{Database: database, Jobs: plan.jobs(), Bare: medianSample(samples[0]), Ours: medianSample(samples[1])}, nil
}

// workJobs lets so many jobs be worked in a new database. The time is that
// from the start of the client until the last handler has written.
func workJobs[TTx any](open jobDBFunc[TTx], newCrew crewFunc[TTx], jobs int) (_ Sample, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), mostOfARun)
	defer cancel()
	d, err := open()
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, d.remove()) }()
	var left atomic.Int64
	left.Store(int64(jobs))
	done := make(chan struct{})
	c, err := newCrew(d, func() {}, func() {
		if left.Add(-1) == 0 {
			close(done)
		}
	})
	if err != nil {
		return Sample{}, err
	}
	for n := jobs; n > 0; n -= batchJobs {
		if err := c.insert(ctx, min(n, batchJobs)); err != nil {
			return Sample{}, err
		}
	}
	if err := d.driver.GetExecutor().Exec(ctx, d.settle); err != nil {
		return Sample{}, err
	}
	heapInUse() // begin with a clean heap
	var w stopwatch
	w.start()
	if err := c.start(ctx); err != nil {
		return Sample{}, err
	}
	select {
	case <-done:
		w.stop()
	case <-ctx.Done():
		err = fmt.Errorf("%d of %d jobs are not worked after %v", left.Load(), jobs, mostOfARun)
	}
	if err = errors.Join(err, c.stop(context.WithoutCancel(ctx))); err != nil {
		return Sample{}, err
	}
	return w.per(jobs), d.check(jobs)
}

// check makes sure that every job is done, and that once.
func (d *jobDB[TTx]) check(jobs int) error {
	for _, query := range []string{countPaid, countJobs + ` WHERE state = 'completed'`} {
		n, err := d.count(query)
		if err != nil {
			return err
		}
		if n != int64(jobs) {
			return fmt.Errorf("%s: %d of %d jobs", query, n, jobs)
		}
	}
	return nil
}
