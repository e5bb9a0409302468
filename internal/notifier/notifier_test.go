package notifier_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings/internal/notifier"
)

func TestNotifier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n notifier.Notifier[string]
		began := time.Now()
		type call struct {
			at   time.Duration
			keys []string
		}
		var calls []call
		running := 0
		run := func(ctx context.Context, keys []string) time.Duration {
			running++
			require.Equal(t, 1, running, "one at a time")
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, 10*time.Second, time.Until(deadline))
			slices.Sort(keys)
			calls = append(calls, call{time.Since(began), keys})
			time.Sleep(2 * time.Second)
			running--
			return 5 * time.Second
		}
		n.Notify(run, "a")
		synctest.Wait()
		n.Notify(run, "b", "a") // while the first one runs
		n.Notify(run, "c")
		time.Sleep(3 * time.Second)
		n.Notify(run, "b") // in the pause
		time.Sleep(time.Minute)
		n.Notify(run, "d")
		time.Sleep(time.Minute)
		synctest.Wait() // orders the read of calls after the last write
		require.Equal(t, []call{{0, []string{"a"}}, {7 * time.Second, []string{"a", "b", "c"}}, {63 * time.Second, []string{"d"}}}, calls)
	})
}
