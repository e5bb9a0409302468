package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A lifecycle tracks whether the workers run.
type lifecycle struct {
	mu       sync.Mutex
	ended    chan struct{}      // closed once River and all goroutines beside it have ended; nil before Start
	end      context.CancelFunc // of the goroutines beside River
	stopping bool
}

// runningLocked reports whether the workers are started and have not ended.
func (l *lifecycle) runningLocked() bool {
	if l.ended == nil {
		return false
	}
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

const (
	// repairEvery is how often lines are repaired, and unnoticed dead jobs
	// announced: rarely, since both are needed only if jobs are changed by
	// other means than handlers.
	repairEvery = time.Minute

	// hardStop is how long Close waits for handlers after it has cancelled their
	// contexts.
	hardStop = 5 * time.Second
)

// Start begins to work the queues of the client's configuration. Subscribe the
// handlers of this process before. Their contexts have the values of ctx, but
// end with [Jobs.Close] and not with ctx, so that a signal does not interrupt a
// handler. Start does nothing if the workers are started. It may be called
// again after it has failed and after the workers have stopped; it fails while
// Close waits for the last handlers, and before River's migrations have run.
//
// It logs, once each at level WARN, what would make jobs wait forever: a queue
// of a handler or of stored jobs that no process works or that is paused, jobs
// stored for a handler that this process does not subscribe, a handler whose
// event is not registered, and lines of [InOrderBy] without the index of
// [Jobs.Migrate]. It checks again 25 minutes later.
func (j *Jobs) Start(ctx context.Context) error {
	l := &j.running
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.workers == nil {
		return errors.New("durable: Start: this process has no workers: pass New the Workers of the client's configuration")
	}
	if l.runningLocked() {
		if l.stopping {
			return errors.New("durable: Start: the workers are stopping: wait until Close returns nil")
		}
		return nil
	}
	j.mu.Lock()
	j.started = true // from now on River reads the workers
	j.mu.Unlock()
	j.silent.Store(true)
	survey, err := j.newSurvey(ctx)
	if err != nil {
		return fmt.Errorf("durable: Start: %w", err)
	}
	if err := j.repairLines(ctx); err != nil {
		return fmt.Errorf("durable: Start: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	if err := j.engine.start(ctx); err != nil {
		return fmt.Errorf("durable: Start: %w", err)
	}
	watched := j.watch(ctx)
	ctx, l.end = context.WithCancel(ctx)
	l.ended = make(chan struct{})
	l.stopping = false
	survey.started(ctx)
	go j.beside(ctx, j.engine.stopped(), watched, survey, l.ended)
	return nil
}

// beside does what the workers need besides River, until ctx ends or River has
// stopped. It closes ended once River and all of this have ended.
func (j *Jobs) beside(ctx context.Context, stopped, watched <-chan struct{}, s *survey, ended chan<- struct{}) {
	defer close(ended)
	var looking sync.WaitGroup
	looking.Go(func() { s.again(ctx, stopped, time.After(surveyAfter)) })
	defer looking.Wait()
	tick := time.NewTicker(repairEvery)
	defer tick.Stop()
	j.repairUntil(ctx, stopped, tick.C)
	<-stopped
	<-watched
}

func (j *Jobs) repairUntil(ctx context.Context, stopped <-chan struct{}, tick <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-stopped:
			return
		case <-tick:
			if err := j.repairLines(ctx); err != nil && ctx.Err() == nil {
				j.logger().ErrorContext(ctx, "durable: cannot check the lines of jobs in order", slog.Any("error", err))
			}
			if err := j.announceAll(ctx); err != nil && ctx.Err() == nil {
				j.logger().ErrorContext(ctx, "durable: cannot check for dead jobs", slog.Any("error", err))
			}
		}
	}
}

// Close is a graceful shutdown: it takes no more jobs and waits for the running
// handlers. If ctx ends before they do, it cancels their contexts and gives
// them five more seconds; an attempt that ends for this reason does not count,
// and the next worker repeats it. Close returns an error if a handler still
// runs; the process may exit nonetheless, which is like a crash. Close may be
// called again, even while another call waits, and does nothing before Start.
func (j *Jobs) Close(ctx context.Context) error {
	// River holds a lock while it waits, so a second call could not end before
	// the first. River is told to stop with a context that has ended, and Close
	// does the waiting.
	over, cancel := context.WithCancel(ctx)
	cancel()

	l := &j.running
	l.mu.Lock()
	if !l.runningLocked() {
		l.mu.Unlock()
		return nil
	}
	ended := l.ended
	l.stopping = true
	l.end()
	_ = j.engine.stop(over) // the error is that over has ended
	l.mu.Unlock()

	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	if l.ended == ended && l.runningLocked() { // and not started again
		_ = j.engine.stopAndCancel(over)
	}
	l.mu.Unlock()
	hard := time.NewTimer(hardStop)
	defer hard.Stop()
	select {
	case <-ended:
		return nil
	case <-hard.C:
		return fmt.Errorf("durable: Close: a handler does not end although its context has: %w", ctx.Err())
	}
}
