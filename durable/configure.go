package durable

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings/durable/internal/byworkers"
)

// configured maps the Workers that Configure has seen to the place where the
// Jobs were made that have handlers there, or nil before that.
var configured byworkers.Map[*atomic.Pointer[string]]

// rescueAfter is how long a job may run after its timeout before its process is
// assumed dead.
const rescueAfter = time.Minute

// forever is how long dead jobs are kept. With -1, River's SQLite driver
// v0.47.0 deletes jobs that ended before now.
const forever = 100 * 365 * 24 * time.Hour

// Configure sets the fields of config that matter for durable jobs, if they are
// not set, and returns config:
//
//   - Workers, for a client that has Queues.
//   - RescueStuckJobsAfter: a minute more than JobTimeout. After a crash a job
//     waits for this time and at most 30 s more. River's default is an hour. A
//     handler with a longer [tidings.Timeout] has that time instead. With a JobTimeout
//     of -1 River takes no job away from a dead process, except from handlers
//     with a Timeout, so the field keeps River's default.
//   - DiscardedJobRetentionPeriod and CancelledJobRetentionPeriod: a hundred
//     years, also in place of -1, since dead jobs are kept until [Jobs.Retry]
//     or [Jobs.Discard] is called. River's -1 means forever too, but on SQLite
//     it deletes them at once. Done jobs are deleted after
//     CompletedJobRetentionPeriod, a day unless set.
//
// [New] rejects the Workers of a configuration that was not passed to
// Configure.
func Configure(config *river.Config) *river.Config {
	if config.Workers == nil && len(config.Queues) > 0 {
		config.Workers = river.NewWorkers()
	}
	if config.Workers != nil {
		if _, known := configured.Load(config.Workers); !known {
			configured.Store(config.Workers, &atomic.Pointer[string]{})
		}
	}
	if config.RescueStuckJobsAfter == 0 && config.JobTimeout >= 0 {
		timeout := config.JobTimeout
		if timeout == 0 {
			timeout = river.JobTimeoutDefault
		}
		config.RescueStuckJobsAfter = timeout + rescueAfter
	}
	for _, period := range []*time.Duration{&config.DiscardedJobRetentionPeriod, &config.CancelledJobRetentionPeriod} {
		if *period == 0 || *period == -1 {
			*period = forever
		}
	}
	return config
}

// checkConfigured returns an error for workers that Configure has not seen.
func checkConfigured(workers *river.Workers) error {
	if _, ok := configured.Load(workers); !ok {
		return errors.New("the configuration of the client did not pass through Configure, so River would delete dead jobs and leave those of a crash alone for an hour: make it durable.Configure(&river.Config{…}), with the Workers if you have some")
	}
	return nil
}

// claim assigns the workers to the Jobs made at place, unless other Jobs have
// handlers there: both would announce the same dead jobs.
func claim(workers *river.Workers, place *string) error {
	owner, ok := configured.Load(workers)
	if ok && !owner.CompareAndSwap(nil, place) && owner.Load() != place {
		return fmt.Errorf("the client has handlers of other Jobs already, made at %s: share those", *owner.Load())
	}
	return nil
}
