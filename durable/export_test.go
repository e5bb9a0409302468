package durable

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// StatusQuery returns the query of Status, so that a test can have it
// explained.
func StatusQuery(j *Jobs, id uuid.UUID) (query string, args []any) {
	where := j.ofEvent(id)
	return inSchema(j.engine.schema(), where.selected()), where.args
}

// AdvanceSQL and RepairSQL are statements of lines, for a test of their plans.
func AdvanceSQL(j *Jobs) string { return advanceSQL.text(j.engine) }
func RepairSQL(j *Jobs) string  { return repairSQL.text(j.engine) }

// UnsaidQuery is the query for jobs whose death is not known yet.
func UnsaidQuery(j *Jobs) string {
	unsaid := j.unsaid()
	return inSchema(j.engine.schema(), unsaid.selected()) + inOrderOfIndex + " LIMIT 500"
}

// RepairUntil repairs lines whenever there is a tick.
func (j *Jobs) RepairUntil(ctx context.Context, tick <-chan time.Time) {
	j.repairUntil(ctx, nil, tick)
}

// Survey says what Start says, and returns what looks again, as if it was time.
func (j *Jobs) Survey(ctx context.Context) (again func(), err error) {
	s, err := j.newSurvey(ctx)
	if err != nil {
		return nil, err
	}
	s.started(ctx)
	due := make(chan time.Time)
	close(due)
	return func() { s.again(ctx, nil, due) }, nil
}
