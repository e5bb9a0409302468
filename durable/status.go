package durable

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// Status returns the jobs of an event, in the order of their IDs: which
// handlers ran, which wait, which failed and why. There is one for each handler
// that was subscribed where the event was published. The result is empty for an
// event that had none, or that has not been published. Done jobs are included
// until River or [Jobs.Purge] deletes them.
//
// In a transaction it sees the jobs stored there: note that the jobs of an
// event are stored just before the commit. An index finds the jobs, on SQLite
// the one of [Jobs.Migrate].
func (j *Jobs) Status(ctx context.Context, eventID uuid.UUID) ([]Job, error) {
	jobs, err := j.status(ctx, eventID)
	if err != nil {
		return nil, fmt.Errorf("durable: Status of the event %s: %w", eventID, err)
	}
	return jobs, nil
}

func (j *Jobs) status(ctx context.Context, eventID uuid.UUID) ([]Job, error) {
	q, err := j.reader(ctx)
	if err != nil {
		return nil, err
	}
	where := j.ofEvent(eventID)
	jobs, err := j.rows(ctx, q, where.selected(), where.args)
	slices.SortFunc(jobs, func(a, b Job) int { return cmp.Compare(a.ID, b.ID) })
	return jobs, err
}

func (j *Jobs) ofEvent(id uuid.UUID) conditions {
	where := conditions{engine: j.engine}
	where.add(ours)
	where.addEvent(id.String())
	return where
}
