package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// A change is a change to dead jobs: a statement with their IDs as $1 and the
// time as $2, and a function that announces it.
type change struct {
	statement statement
	publish   func(context.Context, About) error
}

// retrySQL puts a job of a line back into it, where advance finds it: a job
// that an operator cancelled need not be the head. It removes River's note that
// the job is to be cancelled, which would cancel it again at the next failure.
// The job is also due by the clock of the database, which may differ from this
// process's.
var retrySQL = changing(`
UPDATE {schema}river_job SET
	state = CASE WHEN metadata ->> 'tidings_order' IS NULL THEN 'available' ELSE 'pending' END,
	attempt = 0, finalized_at = NULL, scheduled_at = min($2, strftime('%Y-%m-%d %H:%M:%f', 'now')), metadata = jsonb_remove(metadata, '$.cancel_attempted_at', '$.tidings_said')
WHERE id IN (SELECT value FROM json_each($1))
RETURNING CASE WHEN state = 'available' THEN queue END`, `
UPDATE {schema}river_job SET
	state = CASE WHEN metadata ->> 'tidings_order' IS NULL THEN 'available'::{schema}river_job_state ELSE 'pending' END,
	attempt = 0, finalized_at = NULL, scheduled_at = least($2, now()), metadata = metadata - 'cancel_attempted_at' - 'tidings_said'
WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text($1::text::jsonb) AS value)
RETURNING CASE WHEN state = 'available' THEN queue END`)

// discardSQL mentions the time because every statement of a change gets it.
var discardSQL = changing(`
DELETE FROM {schema}river_job WHERE id IN (SELECT value FROM json_each($1)) AND $2 IS NOT NULL
RETURNING NULL`, `
DELETE FROM {schema}river_job
WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text($1::text::jsonb) AS value) AND $2::timestamptz IS NOT NULL
RETURNING NULL::text`)

// foundSQL returns the IDs of jobs and their lines.
var foundSQL = statement{
	`SELECT json_group_array(json_object('id', id, 'line', metadata ->> 'tidings_order')) FROM ({selected})`,
	`SELECT coalesce(json_agg(json_build_object('id', id, 'line', metadata ->> 'tidings_order')), '[]')::text FROM ({selected}) AS job`,
}

// change applies c to the dead jobs of a selection, and returns how many there
// were.
func (j *Jobs) change(ctx context.Context, selected Selection, c change) (n int, err error) {
	if err := selected.mayChange(); err != nil {
		return 0, err
	}
	tx, err := j.engine.tx(ctx)
	if err != nil {
		return 0, err
	}
	if tx != nil {
		return j.changeIn(ctx, tx, selected, c)
	}
	err = j.transact(ctx, func(ctx context.Context) error {
		tx, err := j.engine.tx(ctx)
		if err != nil {
			return err
		}
		n, err = j.changeIn(ctx, tx, selected, c)
		return err
	})
	return n, err
}

func (j *Jobs) changeIn(ctx context.Context, tx transaction, selected Selection, c change) (n int, err error) {
	ids, orders, err := j.find(ctx, tx, selected)
	if err != nil {
		return 0, err
	}
	// The locks of all lines at once, and before any row lock, so that no
	// transaction that holds one of them waits for us.
	if len(orders) > 0 {
		if err := j.lock(ctx, tx, orders); err != nil {
			return 0, err
		}
	}
	for batch := range slices.Chunk(ids, batchSize) {
		changed, err := j.changeBatch(ctx, tx, batch, c)
		if err != nil {
			return 0, err
		}
		n += changed
	}
	if len(orders) > 0 {
		return n, j.advance(ctx, tx, orders)
	}
	return n, nil
}

// find returns the IDs of the dead jobs of a selection, and their lines.
func (j *Jobs) find(ctx context.Context, tx transaction, selected Selection) (ids []int64, orders []order, err error) {
	where, err := selected.where(j.engine)
	if err != nil {
		return nil, nil, err
	}
	var found []struct {
		ID   int64
		Line string
	}
	oldest := where.selected() + inOrderOfDeath + " LIMIT " + where.arg(selected.limit())
	if err := j.queryJSON(ctx, tx, foundSQL, oldest, where.args, &found); err != nil {
		return nil, nil, err
	}
	for _, f := range found {
		ids = append(ids, f.ID)
		if f.Line == "" {
			continue
		}
		o, err := parseOrder(f.Line)
		if err != nil {
			return nil, nil, fmt.Errorf("the job %d: %w", f.ID, err)
		}
		orders = append(orders, o)
	}
	return ids, orders, nil
}

// changeBatch applies c to the jobs that are still dead.
func (j *Jobs) changeBatch(ctx context.Context, tx transaction, ids []int64, c change) (int, error) {
	still := conditions{engine: j.engine}
	still.addIDs(ids)
	still.add(isDead)
	locked := still.selected() + inOrderOfDeath
	if !j.engine.onSQLite() {
		locked += " FOR UPDATE"
	}
	jobs, err := j.rows(ctx, tx, locked, still.args)
	if err != nil || len(jobs) == 0 {
		return 0, err
	}
	sortByDeath(jobs)
	ids = ids[:0]
	for _, job := range jobs {
		ids = append(ids, job.ID)
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return 0, err
	}
	n, err := tx.change(ctx, c.statement, string(list), j.dbTime())
	if err != nil {
		return 0, err
	}
	if j.config.bus == nil {
		return n, nil
	}
	for _, job := range jobs {
		ctx, _ := inWorkflow(ctx, job)
		if err := c.publish(ctx, job.about()); err != nil {
			return 0, fmt.Errorf("the job %d: %w", job.ID, err)
		}
	}
	return n, nil
}
