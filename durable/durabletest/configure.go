package durabletest

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/tidings-go/tidings/durable"
	"github.com/tidings-go/tidings/durable/internal/byworkers"
	"github.com/tidings-go/tidings/durable/internal/drain"
)

// Configure sets up config for a client that [Drain] works, and returns it. now
// returns the time of the client: as a rule it is the Now of a
// [github.com/tidings-go/tidings/tidingstest.Clock]. It sets:
//
//   - the fields that [durable.Configure] sets.
//   - Test.Time and TestOnly.
//   - Queues: one worker for each, and "default" if there are none.
//   - FetchCooldown and FetchPollInterval: as short as River allows.
//   - PollOnly, since a test has one client, and a listening connection takes
//     time to open.
//   - RetryPolicy: without the random part of River's own, so that the first
//     wait is exactly one second, the second 16 s, and so on: the fourth power
//     of the attempt. A policy of your own is kept.
//   - RescueStuckJobsAfter: a century. River compares the time when a job began
//     with the clock of the machine.
//   - Logger, if not set: only errors, to standard error.
//
// Pass config.Workers to [durable.New]: Drain finds its client by them. Also
// pass the same clock to [durable.WithClock].
func Configure(config *river.Config, now func() time.Time) *river.Config {
	if config == nil || now == nil {
		panic("durabletest: Configure with a nil Config or function")
	}
	s := &setup{now: now, queues: map[string]river.QueueConfig{}, began: make(chan struct{}, 1)}

	for name := range config.Queues {
		s.queues[name] = river.QueueConfig{MaxWorkers: 1}
	}
	if len(s.queues) == 0 {
		s.queues[river.QueueDefault] = river.QueueConfig{MaxWorkers: 1}
	}
	config.Queues = maps.Clone(s.queues)
	durable.Configure(config)

	config.Test.Time = clock{now}
	config.TestOnly = true
	config.FetchCooldown, config.FetchPollInterval = river.FetchCooldownMin, river.FetchPollIntervalMin
	config.PollOnly = true
	if _, random := config.RetryPolicy.(*river.DefaultClientRetryPolicy); random {
		config.RetryPolicy = nil
	}
	config.RetryPolicy = &retryPolicy{now, config.RetryPolicy}
	config.RescueStuckJobsAfter = 100 * 365 * 24 * time.Hour
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	// A copy, since other configurations may share the slice.
	config.Plugins = append(config.Plugins[:len(config.Plugins):len(config.Plugins)], &watch{setup: s})

	setups.Store(config.Workers, s)
	return config
}

// A setup is what Drain knows about a client.
type setup struct {
	now    func() time.Time
	queues map[string]river.QueueConfig
	began  chan struct{} // receives when an attempt has begun
}

// setups holds the setup of each client.
var setups byworkers.Map[*setup]

func init() {
	drain.Serves = func(workers *river.Workers) bool {
		_, ok := setups.Load(workers)
		return ok
	}
}

// A clock tells a client the time.
type clock struct{ now func() time.Time }

func (c clock) Now() time.Time { return c.now() }

func (c clock) NowOrNil() *time.Time {
	now := c.now()
	return &now
}

// A retryPolicy is own, or River's without randomness.
type retryPolicy struct {
	now func() time.Time
	own river.ClientRetryPolicy
}

func (p *retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	if p.own == nil {
		const most = 309 // a higher one would overflow a Duration
		n := time.Duration(min(len(job.Errors)+1, most))
		return p.now().Add(n * n * n * n * time.Second)
	}
	at := p.own.NextRetry(job)
	if soonest := p.now().Add(drain.Shortest); at.Before(soonest) {
		return soonest
	}
	return at
}

// watch observes the attempts of a client.
type watch struct {
	river.MiddlewareDefaults
	setup *setup
}

var _ rivertype.WorkerMiddleware = (*watch)(nil)

func (w *watch) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	select {
	case w.setup.began <- struct{}{}:
	default:
	}
	err := work(ctx)
	var snooze *river.JobSnoozeError
	if errors.As(err, &snooze) && snooze.Duration < drain.Shortest {
		return river.JobSnooze(drain.Shortest)
	}
	return err
}
