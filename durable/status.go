package durable

import (
	"context"

	"github.com/google/uuid"
)

// Status returns the jobs of an event, by handler: which handlers ran, which
// wait, which failed and why. What is done is known until River deletes it.
func (j *Jobs) Status(ctx context.Context, eventID uuid.UUID) ([]Job, error) {
	panic("todo")
}

// Counts is how many jobs there are in each state.
type Counts map[State]int

// Counts returns how many jobs there are in each state, by handler.
func (j *Jobs) Counts(ctx context.Context) (map[string]Counts, error) {
	panic("todo")
}
