// Package drain lets package durabletest work the jobs of a durable.Jobs with
// more control than Start and Close give, without a public API only for tests.
package drain

import (
	"context"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Shortest is the minimum time between two attempts of a job while it is
// drained. It is the resolution of time on SQLite. While the clock stands
// still, no job is then due twice.
const Shortest = time.Millisecond

// An Engine is a *durable.Jobs.
type Engine interface {
	// Acquire prevents other calls from draining until Release. It returns an
	// error if the workers are started or another call drains.
	Acquire() error
	Release()

	// Workers returns the Workers that New was given; nil: none.
	Workers() *river.Workers
	Now() time.Time
	Queues() *river.QueueBundle

	Start(ctx context.Context) error
	Stop(ctx context.Context) error

	// Promote makes due jobs available: those whose wait is over, and those
	// that wait for a job which was deleted.
	Promote(ctx context.Context) error

	// Due returns the queues in which a job is available and due.
	Due(ctx context.Context) ([]Queue, error)

	// Left returns the jobs that are due or running, by id.
	Left(ctx context.Context) ([]*rivertype.JobRow, error)
}

// A Queue is a queue of River.
type Queue struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
}

// EngineOf returns the engine of a *durable.Jobs. Package durable sets it.
var EngineOf func(jobs any) Engine

// Serves reports whether the client with these workers is for Drain, and so is
// never started. Package durabletest sets it, if the program imports it.
var Serves func(workers *river.Workers) bool
