package inflight_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/inflight"
)

// Publishers leave deferred work behind, which publishes and leaves work behind
// again, while another goroutine refuses new work and waits.
func TestWaitMissesNothing(t *testing.T) {
	t.Parallel()
	for range 50 {
		var c inflight.Counter
		var closed atomic.Bool
		var working, published atomic.Int64
		var all sync.WaitGroup
		var publish func(depth int)
		publish = func(depth int) {
			s := c.Start(unsafe.Pointer(&depth))
			defer c.Finish(s)
			if closed.Load() && depth == 0 {
				return
			}
			working.Add(1)
			defer working.Add(-1)
			published.Add(1)
			if depth == 3 {
				return
			}
			c.StartDeferred()
			all.Go(func() {
				defer c.FinishDeferred()
				working.Add(1)
				defer working.Add(-1)
				publish(depth + 1)
			})
		}
		for range 4 {
			all.Go(func() {
				for range 1000 {
					if closed.Load() {
						return
					}
					publish(0)
				}
			})
		}
		for published.Load() < 100 {
			runtime.Gosched()
		}
		closed.Store(true)
		require.NoError(t, c.Wait(t.Context()))
		require.Zero(t, working.Load())
		all.Wait()
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c inflight.Counter
		s := c.Start(unsafe.Pointer(&c))
		wait := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return c.Wait(ctx)
		}
		require.ErrorIs(t, wait(), context.DeadlineExceeded, "for the publisher")
		c.StartDeferred()
		c.Finish(s)
		require.ErrorIs(t, wait(), context.DeadlineExceeded, "for what it left behind")
		time.AfterFunc(time.Minute, c.FinishDeferred)
		require.NoError(t, c.Wait(t.Context()), "once it has ended")
	})
}
