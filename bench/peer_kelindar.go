package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/kelindar/event"
)

// patience bounds every wait for a bus that delivers later.
const patience = 30 * time.Second

func setupKelindar(handlers int) (*Runner, error) {
	before := runtime.NumGoroutine()
	bus := event.NewDispatcher()
	tally := make(tallies, handlers)
	cancels := make([]context.CancelFunc, 0, handlers)
	for i := range handlers {
		cancels = append(cancels, event.Subscribe(bus, func(OrderPlaced) { tally[i].n.Add(1) }))
	}
	var sent atomic.Int64
	return &Runner{
		Do: func(lane, n int) error {
			e := orders[lane]
			for range n {
				event.Publish(bus, e)
			}
			sent.Add(int64(n))
			return nil
		},
		// The dispatcher does not say when it is idle, so look.
		Drain: func() error {
			want := sent.Load() * int64(handlers)
			return poll(func() error {
				if got := tally.sum(); got != want {
					return fmt.Errorf("%d of %d deliveries", got, want)
				}
				return nil
			})
		},
		// A cancelled handler's goroutine ends at the dispatcher's next tick,
		// and closing stops the ticks: wait, or it stays behind and the
		// measurements that follow pay for it.
		Release: func() error {
			for _, cancel := range cancels {
				cancel()
			}
			ticker := min(handlers, 1)
			err := poll(func() error {
				if left := runtime.NumGoroutine() - before - ticker; left > 0 {
					return fmt.Errorf("%d goroutines stay behind", left)
				}
				return nil
			})
			if closeErr := bus.Close(); err == nil {
				err = closeErr
			}
			return err
		},
		Delivered: tally.sum,
	}, nil
}

// poll asks until check is content, and returns its last complaint when
// patience runs out.
func poll(check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", patience, err)
		}
		time.Sleep(50 * time.Microsecond)
	}
}
