package tidingstest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

func TestClock(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	clock := tidingstest.NewClock(start)
	bus := tidingstest.NewBus(t, tidings.WithClock(clock.Now))
	rec := tidingstest.Record(bus)

	require.NoError(t, tidings.Publish(t.Context(), bus, signed{}))
	clock.Advance(time.Hour)
	require.NoError(t, tidings.Publish(t.Context(), bus, signed{}))
	clock.Advance(-2 * time.Hour)
	require.NoError(t, tidings.Publish(t.Context(), bus, signed{}))

	events := rec.Delivered()
	require.Equal(t, start, events[0].OccurredAt())
	require.Equal(t, start.Add(time.Hour), events[1].OccurredAt())
	require.Equal(t, start.Add(-time.Hour), events[2].OccurredAt())
}

func TestClockConcurrent(t *testing.T) {
	t.Parallel()
	clock := tidingstest.NewClock(time.Time{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			clock.Advance(time.Second)
			clock.Now()
		})
	}
	wg.Wait()
	require.Equal(t, time.Time{}.Add(100*time.Second), clock.Now())
}
