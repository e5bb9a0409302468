package durable

import (
	"context"
	"fmt"
	"strings"
)

// Counts holds the number of jobs in each [State].
type Counts struct {
	Waiting, Held, Running, Retrying, Done, Dead int
}

// Total returns the number of all jobs.
func (c Counts) Total() int {
	return c.Waiting + c.Held + c.Running + c.Retrying + c.Done + c.Dead
}

// countsSQL computes the state of each job like stateOf.
var countsSQL = statement{
	"SELECT json_group_array(json_object('handler', kind, 'state', became, 'n', n))" +
		strings.Replace(countsText, "{failures}", "json_array_length(errors)", 1),
	"SELECT coalesce(json_agg(json_build_object('handler', kind, 'state', became, 'n', n)), '[]')::text" +
		strings.Replace(countsText, "{failures}", "cardinality(errors)", 1),
}

const countsText = `
FROM (SELECT kind, count(*) AS n, CASE
		WHEN state = 'completed' THEN 'done'
		WHEN state IN ('cancelled', 'discarded') THEN 'dead'
		WHEN state = 'running' THEN 'running'
		WHEN state = 'pending' THEN 'held'
		WHEN state = 'retryable' OR {failures} > 0 THEN 'retrying'
		ELSE 'waiting' END AS became
	FROM ({selected}) AS job GROUP BY kind, became) AS counted`

// Counts returns how many jobs there are in each state, by the handler that
// they were stored for, even if this process does not have that handler. A
// handler without jobs is not in the map; the zero value is right for it.
//
// One statement reads the whole table, including done jobs, so call it for an
// operator or for a metric that is scraped occasionally. In a transaction it
// counts the jobs that the transaction sees.
func (j *Jobs) Counts(ctx context.Context) (map[string]Counts, error) {
	counts, err := j.counts(ctx)
	if err != nil {
		return nil, fmt.Errorf("durable: Counts: %w", err)
	}
	return counts, nil
}

func (j *Jobs) counts(ctx context.Context) (map[string]Counts, error) {
	q, err := j.reader(ctx)
	if err != nil {
		return nil, err
	}
	all := conditions{engine: j.engine, texts: []string{ours}}
	var counted []struct {
		Handler string
		State   State
		N       int
	}
	if err := j.queryJSON(ctx, q, countsSQL, all.selected(), all.args, &counted); err != nil {
		return nil, err
	}
	counts := map[string]Counts{}
	for _, counted := range counted {
		c := counts[counted.Handler]
		*c.of(counted.State) = counted.N
		counts[counted.Handler] = c
	}
	return counts, nil
}

// of returns a pointer to the number of jobs in a state.
func (c *Counts) of(s State) *int {
	switch s {
	case Held:
		return &c.Held
	case Running:
		return &c.Running
	case Retrying:
		return &c.Retrying
	case Done:
		return &c.Done
	case Dead:
		return &c.Dead
	}
	return &c.Waiting
}
