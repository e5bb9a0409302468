package bench

import (
	"math"
	"runtime"
	"slices"
	"time"
)

// A Sample is what one operation cost.
type Sample struct {
	NS     float64 // nanoseconds of wall clock, whatever the number of goroutines
	Bytes  float64 // allocated on the heap
	Allocs float64
}

// Median returns the middle one of values, or the mean of the middle two, and
// NaN where there are none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// medianSample takes the median of each figure by itself.
func medianSample(samples []Sample) Sample {
	pick := func(figure func(Sample) float64) float64 {
		values := make([]float64, 0, len(samples))
		for _, s := range samples {
			values = append(values, figure(s))
		}
		return Median(values)
	}
	return Sample{
		NS:     pick(func(s Sample) float64 { return s.NS }),
		Bytes:  pick(func(s Sample) float64 { return s.Bytes }),
		Allocs: pick(func(s Sample) float64 { return s.Allocs }),
	}
}

// A stopwatch adds up the time and the heap allocations of the spans between
// start and stop. Reading the allocation counters is left out of the time.
type stopwatch struct {
	elapsed time.Duration
	bytes   uint64
	allocs  uint64

	began  time.Time
	before runtime.MemStats
}

func (w *stopwatch) start() {
	runtime.ReadMemStats(&w.before)
	w.began = time.Now()
}

func (w *stopwatch) stop() {
	w.elapsed += time.Since(w.began)
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	w.bytes += after.TotalAlloc - w.before.TotalAlloc
	w.allocs += after.Mallocs - w.before.Mallocs
}

// per returns what each of n operations cost.
func (w *stopwatch) per(n int) Sample {
	return Sample{
		NS:     float64(w.elapsed.Nanoseconds()) / float64(n),
		Bytes:  float64(w.bytes) / float64(n),
		Allocs: float64(w.allocs) / float64(n),
	}
}

// time does the runner's work n times in each goroutine, and waits for the
// handlers: the time of a bus that delivers later ends with the last delivery.
func (w *stopwatch) time(r *Runner, goroutines, n int) error {
	w.start()
	err := r.DoFrom(goroutines, n)
	if err == nil {
		err = r.Finish()
	}
	w.stop()
	return err
}

// calibrate returns how many operations of each goroutine take about d, and
// warms the runner up on the way.
func calibrate(r *Runner, goroutines int, d time.Duration) (int, error) {
	const most = 1_000_000_000
	for n := 1; ; {
		var w stopwatch
		if err := w.time(r, goroutines, n); err != nil {
			return 0, err
		}
		// A tenth of the time is enough to predict the rest by.
		if w.elapsed >= d/10 || n >= most {
			predicted := float64(n) * float64(d) / float64(max(w.elapsed, 1))
			return int(min(max(predicted, 1), most)), nil
		}
		// Grow by what is missing, but carefully: the first turns are cold.
		missing := float64(d) / 10 / float64(max(w.elapsed, 1))
		n = min(int(float64(n)*min(max(1.5*missing, 2), 50)), most)
	}
}
