package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// ours is true for the jobs that Send has stored. The application may have
// others in the same table.
const ours = "args ->> 'specversion' IS NOT NULL"

// A row is the part of a river_job row that is read.
type row struct {
	ID          int64                    `json:"id"`
	Kind        string                   `json:"kind"`
	Args        json.RawMessage          `json:"args"`
	Metadata    json.RawMessage          `json:"metadata"`
	State       rivertype.JobState       `json:"state"`
	Queue       string                   `json:"queue"`
	Attempt     int                      `json:"attempt"`
	MaxAttempts int                      `json:"max_attempts"`
	CreatedAt   time.Time                `json:"created_at"`
	ScheduledAt time.Time                `json:"scheduled_at"`
	FinalizedAt *time.Time               `json:"finalized_at"`
	Errors      []rivertype.AttemptError `json:"errors"`
}

// rowsSQL returns rows as one JSON array, since a querier returns one row, and
// since River's JobList cannot read in every transaction that Send can write
// in. {selected} selects from river_job.
var rowsSQL = statement{`
SELECT json_group_array(json_object(
	'id', id, 'kind', kind, 'args', json(args), 'metadata', json(metadata), 'state', state, 'queue', queue,
	'attempt', attempt, 'max_attempts', max_attempts, 'errors', json(errors),
	'created_at', strftime('%Y-%m-%dT%H:%M:%fZ', created_at),
	'scheduled_at', strftime('%Y-%m-%dT%H:%M:%fZ', scheduled_at),
	'finalized_at', strftime('%Y-%m-%dT%H:%M:%fZ', finalized_at)))
FROM ({selected})`, `
SELECT coalesce(json_agg(job), '[]')::text
FROM ({selected}) AS job`}

// rows returns the jobs that selected selects, in no particular order.
func (j *Jobs) rows(ctx context.Context, q querier, selected string, args []any) ([]Job, error) {
	var rows []row
	if err := j.queryJSON(ctx, q, rowsSQL, selected, args, &rows); err != nil {
		return nil, err
	}
	jobs := make([]Job, len(rows))
	for i, r := range rows {
		jobs[i] = j.jobOf(&rivertype.JobRow{
			ID: r.ID, Kind: r.Kind, EncodedArgs: r.Args, Metadata: r.Metadata, State: r.State, Queue: r.Queue,
			Attempt: r.Attempt, MaxAttempts: r.MaxAttempts, Errors: r.Errors,
			CreatedAt: r.CreatedAt, ScheduledAt: r.ScheduledAt, FinalizedAt: r.FinalizedAt,
		})
	}
	return jobs, nil
}

// queryJSON runs a statement that returns JSON, on the rows of selected.
func (j *Jobs) queryJSON(ctx context.Context, q querier, s statement, selected string, args []any, dest any) error {
	query := strings.Replace(s.text(j.engine), "{selected}", inSchema(j.engine.schema(), selected), 1)
	var text string
	if err := q.row(ctx, query, args, &text); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), dest); err != nil {
		return fmt.Errorf("reading rows of river_job: %w", err)
	}
	return nil
}

// reader returns the transaction of ctx, or the pool if there is none.
func (j *Jobs) reader(ctx context.Context) (querier, error) {
	tx, err := j.engine.tx(ctx)
	if err != nil {
		return nil, err
	}
	if tx == nil {
		return j.engine.pool(), nil
	}
	return tx, nil
}

// conditions are the conditions of a WHERE clause, with their arguments.
type conditions struct {
	engine engine
	texts  []string
	args   []any
}

// arg adds an argument, and returns its placeholder. No row has a text that
// cannot be stored; Postgres would fail on it.
func (c *conditions) arg(a any) string {
	if text, ok := a.(string); ok {
		a = storable(text)
	}
	c.args = append(c.args, a)
	return "$" + strconv.Itoa(len(c.args))
}

func (c *conditions) add(text string) { c.texts = append(c.texts, text) }

// addEvent selects the jobs of an event, in a form that an index serves.
func (c *conditions) addEvent(id string) {
	if c.engine.onSQLite() {
		c.add("args ->> 'id' = " + c.arg(id))
	} else {
		c.add("args @> jsonb_build_object('id', " + c.arg(id) + "::text)")
	}
}

// addIDs selects the jobs with these IDs.
func (c *conditions) addIDs(ids []int64) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	list := c.arg("[" + strings.Join(texts, ",") + "]")
	if c.engine.onSQLite() {
		c.add("id IN (SELECT value FROM json_each(" + list + "))")
	} else {
		c.add("id IN (SELECT value::bigint FROM jsonb_array_elements_text(" + list + "::text::jsonb) AS value)")
	}
}

// selected returns the SELECT of all columns where the conditions hold.
func (c *conditions) selected() string {
	return "SELECT * FROM {schema}river_job WHERE " + strings.Join(c.texts, " AND ")
}
