package durable

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"github.com/tidings-go/tidings/durable/internal/byworkers"
)

// configured has the Workers that Configure has seen, and for each the place
// where the Jobs were made that have handlers there, nil before that.
var configured byworkers.Map[*atomic.Pointer[string]]

// rescueAfter is how long a job may run on after its timeout before it is
// taken for the job of a process that has died.
const rescueAfter = time.Minute

// forever is how long dead jobs are kept. With -1 River's driver for SQLite
// v0.47.0 deletes what ended before now.
const forever = 100 * 365 * 24 * time.Hour

// Configure fills in what matters here and is not set in config, which it
// returns:
//
//   - Workers, for a client that has Queues.
//   - RescueStuckJobsAfter: a minute more than JobTimeout. After a crash a
//     job waits for this time and at most 30 s more. River's default is an
//     hour. A handler with a longer [Timeout] has that time instead. With a
//     JobTimeout of -1 River takes no job away from a process that has died,
//     except from handlers with a Timeout, so it is left at its default.
//   - DiscardedJobRetentionPeriod and CancelledJobRetentionPeriod: a hundred
//     years, also in place of -1, since dead jobs are kept until somebody calls
//     [Jobs.Retry] or [Jobs.Discard]. River's -1 is for ever too, but on SQLite
//     it deletes them at once. What is done is deleted after
//     CompletedJobRetentionPeriod, a day unless set.
//
// [New] refuses the Workers of a configuration that was not passed through
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

// claim makes the workers those of the Jobs that were made at place, unless
// others have handlers there: what dies would be told by both.
func claim(workers *river.Workers, place *string) error {
	owner, ok := configured.Load(workers)
	if ok && !owner.CompareAndSwap(nil, place) && owner.Load() != place {
		return fmt.Errorf("the client has handlers of other Jobs already, made at %s: share those, and use Jobs.With where settings differ", *owner.Load())
	}
	return nil
}
