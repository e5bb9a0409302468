package durable

import (
	"context"
	"encoding/json"
	"maps"
	"time"
)

// queuesSQL returns the queues that a process works, or has worked within a
// day, and fails if River's tables are missing.
var queuesSQL = statement{`
SELECT json_group_array(json_object('name', name, 'updated_at', strftime('%Y-%m-%dT%H:%M:%fZ', updated_at), 'paused', json(iif(paused_at IS NULL, 'false', 'true'))))
FROM {schema}river_queue WHERE NOT EXISTS (SELECT 1 FROM {schema}river_job LIMIT 0)`, `
SELECT coalesce(json_agg(json_build_object('name', name, 'updated_at', updated_at, 'paused', paused_at IS NOT NULL)), '[]')::text
FROM {schema}river_queue WHERE NOT EXISTS (SELECT 1 FROM {schema}river_job LIMIT 0)`}

type queue struct {
	Name      string    `json:"name"`
	UpdatedAt time.Time `json:"updated_at"` // when a process that works it last reported it
	Paused    bool      `json:"paused"`
}

func (j *Jobs) queues(ctx context.Context) (map[string]queue, error) {
	var text string
	if err := j.engine.pool().row(ctx, queuesSQL.text(j.engine), nil, &text); err != nil {
		return nil, err
	}
	var list []queue
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	queues := map[string]queue{}
	for _, q := range list {
		queues[q.Name] = q
	}
	return queues, nil
}

// waitingSQL counts waiting jobs, without most of those that this process
// works: $1 are the names of its handlers, and $2 the queues that a process
// works.
var waitingSQL = statement{`
SELECT json_group_array(json_object('handler', kind, 'queue', queue, 'n', n, 'oldest', strftime('%Y-%m-%dT%H:%M:%fZ', oldest)))
FROM (SELECT kind, queue, count(*) AS n, min(created_at) AS oldest FROM {schema}river_job
	WHERE state IN (` + isWaiting + `) AND (kind NOT IN (SELECT value FROM json_each($1)) OR queue NOT IN (SELECT value FROM json_each($2))) AND ` + ours + `
	GROUP BY kind, queue) AS waiting`, `
SELECT coalesce(json_agg(json_build_object('handler', kind, 'queue', queue, 'n', n, 'oldest', oldest)), '[]')::text
FROM (SELECT kind, queue, count(*) AS n, min(created_at) AS oldest FROM {schema}river_job
	WHERE state IN (` + isWaiting + `)
		AND (kind NOT IN (SELECT jsonb_array_elements_text($1::text::jsonb)) OR queue NOT IN (SELECT jsonb_array_elements_text($2::text::jsonb))) AND ` + ours + `
	GROUP BY kind, queue) AS waiting`}

const isWaiting = `'available', 'pending', 'retryable', 'scheduled'`

// waiting counts the jobs for one handler in one queue.
type waiting struct {
	Handler string    `json:"handler"`
	Queue   string    `json:"queue"`
	N       int       `json:"n"`
	Oldest  time.Time `json:"oldest"`
}

// worked returns the queues that a process is likely to work now. It compares
// times in the table, whatever clock they come from.
func worked(queues map[string]queue) map[string]bool {
	var newest time.Time
	for _, q := range queues {
		if q.UpdatedAt.After(newest) {
			newest = q.UpdatedAt
		}
	}
	worked := map[string]bool{}
	for name, q := range queues {
		worked[name] = newest.Sub(q.UpdatedAt) < surveyAfter
	}
	maps.DeleteFunc(worked, func(_ string, is bool) bool { return !is })
	return worked
}

func (j *Jobs) waiting(ctx context.Context, handlers, queues []string) (list []waiting, err error) {
	args := make([]any, 2)
	for i, names := range [][]string{handlers, queues} {
		text, err := json.Marshal(append([]string{}, names...)) // not null
		if err != nil {
			return nil, err
		}
		args[i] = string(text)
	}
	var text string
	if err := j.engine.pool().row(ctx, waitingSQL.text(j.engine), args, &text); err != nil {
		return nil, err
	}
	return list, json.Unmarshal([]byte(text), &list)
}

// unindexed reports whether a handler has an order, but the index is missing.
func (j *Jobs) unindexed(ctx context.Context) (bool, error) {
	j.mu.RLock()
	ordered := j.ordered
	j.mu.RUnlock()
	if !ordered {
		return false, nil
	}
	var n int
	err := j.engine.pool().row(ctx, indexedSQL.text(j.engine), nil, &n)
	return n == 0, err
}
