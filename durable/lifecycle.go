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
	started  bool               // between Start and the end of Stop
	end      context.CancelFunc // of what runs beside River
	repaired chan struct{}      // closed once that has ended
}

const (
	// repairEvery is how often lines are repaired: rare, since only
	// deleting jobs by hand breaks them.
	repairEvery = time.Minute

	// hardStop is how long Stop waits for handlers after it has cancelled
	// their contexts.
	hardStop = 5 * time.Second
)

// Start begins to work the queues of the client's configuration. The handlers
// of this process are subscribed before. Their contexts have the values of
// ctx, but end with [Jobs.Stop] and not with ctx, so that a handler is not cut
// off by a signal. Start does nothing if the workers are started.
func (j *Jobs) Start(ctx context.Context) error {
	l := &j.running
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started {
		return nil
	}
	if j.workers == nil {
		return errors.New("durable: Start: this process has no workers: pass New the Workers of the client's configuration")
	}
	ctx = context.WithoutCancel(ctx)
	j.mu.Lock()
	j.started = true // from here on River reads the workers
	ordered := j.ordered
	j.mu.Unlock()
	if ordered {
		if err := j.repair(ctx); err != nil {
			return fmt.Errorf("durable: Start: %w", err)
		}
	}
	if err := j.engine.start(ctx); err != nil {
		return fmt.Errorf("durable: Start: %w", err)
	}
	l.started = true
	l.repaired = make(chan struct{})
	ctx, l.end = context.WithCancel(ctx)
	go j.repairUntil(ctx, l.repaired, ordered)
	return nil
}

func (j *Jobs) repairUntil(ctx context.Context, done chan struct{}, ordered bool) {
	defer close(done)
	if !ordered {
		return
	}
	tick := time.NewTicker(repairEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := j.repair(ctx); err != nil && ctx.Err() == nil {
				j.logger().ErrorContext(ctx, "durable: the lines of jobs in order could not be checked", slog.Any("error", err))
			}
		}
	}
}

// Stop takes no more jobs and waits for the handlers that run. When ctx ends
// before they do, it cancels their contexts and gives them five more seconds;
// an attempt that ends for this reason does not count, and is made again by
// the next worker. The error says that some handler still runs; the process
// may end nonetheless, as if it were killed. Stop may be called again, and does
// nothing before Start.
func (j *Jobs) Stop(ctx context.Context) error {
	l := &j.running
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started {
		return nil
	}
	l.end()
	<-l.repaired
	if err := j.engine.stop(ctx); err != nil {
		hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), hardStop)
		defer cancel()
		if err := j.engine.stopAndCancel(hard); err != nil {
			return fmt.Errorf("durable: Stop: a handler does not end although its context has: %w", err)
		}
	}
	l.started = false
	return nil
}
