package bench

import "sync/atomic"

// Lanes bounds how many goroutines may publish at once.
const Lanes = 64

// counts is the sink that keeps handlers honest: one counter for each lane, two
// cache lines apart, so that counting costs one plain increment. No two
// goroutines write the same counter, as long as handlers run in the goroutine of
// the publisher; see tallies for those that do not.
var counts [Lanes]struct {
	n int64
	_ [120]byte
}

// counted returns the calls that the synchronous handlers of all lanes have
// counted since the program began. Publishers must have returned.
func counted() int64 {
	var sum int64
	for i := range counts {
		sum += counts[i].n
	}
	return sum
}

// tallies counts for handlers that run in goroutines of their own: each has its
// own atomic counter, so that they do not fight for one cache line.
type tallies []struct {
	n atomic.Int64
	_ [120]byte
}

func (t tallies) sum() int64 {
	var sum int64
	for i := range t {
		sum += t[i].n.Load()
	}
	return sum
}
