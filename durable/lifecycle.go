package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A lifecycle is that of the workers.
type lifecycle struct {
	mu       sync.Mutex
	ended    chan struct{}      // closed once River and all beside it has ended; nil before Start
	end      context.CancelFunc // of what runs beside River
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
	// repairEvery is how often lines are repaired, and jobs announced that
	// died unseen: rarely, since both are needed only where jobs are changed
	// by other means than handlers.
	repairEvery = time.Minute

	// hardStop is how long Stop waits for handlers after it has cancelled
	// their contexts.
	hardStop = 5 * time.Second
)

// Start begins to work the queues of the client's configuration. The handlers
// of this process are subscribed before. Their contexts have the values of
// ctx, but end with [Jobs.Stop] and not with ctx, so that a handler is not cut
// off by a signal. Start does nothing if the workers are started, and may be
// called again after it has failed and after they have stopped; it fails while
// Stop waits for the last handlers, and before River's migrations have run.
//
// It logs, once each at level WARN, what would make jobs wait for ever: a
// queue of a handler or of stored jobs that no process works or that is
// paused, jobs stored for a handler that this process does not subscribe, a
// handler whose event is not registered, and lines of [InOrderBy] without the
// index of [Jobs.Migrate]. It looks again 25 minutes later.
func (j *Jobs) Start(ctx context.Context) error {
	l := &j.running
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.workers == nil {
		return errors.New("durable: Start: this process has no workers: pass New the Workers of the client's configuration")
	}
	if l.runningLocked() {
		if l.stopping {
			return errors.New("durable: Start: the workers are stopping: wait until Stop returns nil")
		}
		return nil
	}
	j.mu.Lock()
	j.started = true // from here on River reads the workers
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

// beside does what the workers need besides River, until ctx is over or River
// has stopped, and closes ended when both are.
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
				j.logger().ErrorContext(ctx, "durable: the lines of jobs in order could not be checked", slog.Any("error", err))
			}
			if err := j.announceAll(ctx); err != nil && ctx.Err() == nil {
				j.logger().ErrorContext(ctx, "durable: it could not be checked which jobs have died", slog.Any("error", err))
			}
		}
	}
}

// Stop takes no more jobs and waits for the handlers that run. When ctx ends
// before they do, it cancels their contexts and gives them five more seconds;
// an attempt that ends for this reason does not count, and is made again by
// the next worker. The error says that some handler still runs; the process
// may end nonetheless, as if it were killed. Stop may be called again, also
// while another call waits, and does nothing before Start.
func (j *Jobs) Stop(ctx context.Context) error {
	// River holds a lock while it waits, so a second call could not end
	// before the first. It is told to stop with a context that is over, and
	// the waiting is done here.
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
	_ = j.engine.stop(over) // that over is over
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
		return fmt.Errorf("durable: Stop: a handler does not end although its context has: %w", ctx.Err())
	}
}
