package durable

import "github.com/google/uuid"

// StatusQuery returns the query of Status, so that a test can have it
// explained.
func StatusQuery(j *Jobs, id uuid.UUID) (query string, args []any) {
	where := j.ofEvent(id)
	return inSchema(j.engine.schema(), where.selected()), where.args
}
