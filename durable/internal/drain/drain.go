// Package drain lets package durabletest work the jobs of a durable.Jobs with
// more control than Start and Stop give, without an API for tests alone.
package drain

import (
	"context"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Shortest is how far apart two attempts for a job are at least while it is
// drained. It is the resolution of time on SQLite. With the clock standing
// still, no job is then due twice.
const Shortest = time.Millisecond

// An Engine is a *durable.Jobs.
type Engine interface {
	// Acquire keeps others from draining until Release. Its error says that
	// the workers are started, or that others drain.
	Acquire() error
	Release()

	// Workers are those that New was given; nil: none.
	Workers() *river.Workers
	Now() time.Time
	Queues() *river.QueueBundle

	Start(ctx context.Context) error
	Stop(ctx context.Context) error

	// Promote makes available what is due: the jobs whose wait is over, and
	// those that wait for a job which somebody has deleted.
	Promote(ctx context.Context) error

	// Due returns the queues in which a job is available and due.
	Due(ctx context.Context) ([]Queue, error)

	// Left returns the jobs that are due or running, by id.
	Left(ctx context.Context) ([]*rivertype.JobRow, error)
}

// A Queue is one of River's.
type Queue struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
}

// EngineOf returns the engine of a *durable.Jobs. Package durable sets it.
var EngineOf func(jobs any) Engine

// Serves reports whether the client with these workers is one for Drain, which
// nobody starts. Package durabletest sets it, if the program has that.
var Serves func(workers *river.Workers) bool
