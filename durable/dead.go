package durable

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A Selection says which dead jobs are meant: those that meet all of its
// fields that are set.
type Selection struct {
	JobIDs    []int64
	Handler   string
	EventID   uuid.UUID
	EventType string    // a registered name
	Before    time.Time // dead since before that time
	Limit     int       // the oldest ones first; 0: no limit

	// All is required by Retry and Discard where nothing else is set, but
	// Limit.
	All bool
}

// Dead returns the dead jobs of a selection, the oldest first; the zero
// Selection is all of them.
func (j *Jobs) Dead(ctx context.Context, selected Selection) ([]Job, error) {
	panic("todo")
}

// Retry lets dead jobs run again, at once and with all their attempts, and
// returns how many. ...
func (j *Jobs) Retry(ctx context.Context, selected Selection) (int, error) {
	panic("todo")
}

// Discard deletes dead jobs, and returns how many. ...
func (j *Jobs) Discard(ctx context.Context, selected Selection) (int, error) {
	panic("todo")
}
