package nats

import (
	"time"

	"github.com/nats-io/nats.go"
)

// A window decides how many messages a worker requests at once: as many as it
// handles in the time ahead, judging by the last ones, but no more than there
// are. So a worker with a fast handler does not wait for the server each time,
// and one with a slow handler has one message, and leaves the others to free
// workers.
type window struct {
	size  int       // of the last request
	got   int       // messages since then
	since time.Time // when the first of them arrived
	last  *nats.Msg
}

const (
	ahead     = 50 * time.Millisecond
	maxWindow = 64
)

// add records a message that is handled next.
func (w *window) add(raw *nats.Msg) {
	if w.got == 0 {
		w.since = time.Now()
	}
	w.got++
	w.last = raw
}

// next returns how many messages to request, once all have been handled.
func (w *window) next() int {
	size := 1
	if w.got > 0 {
		each := max(1, time.Since(w.since)/time.Duration(w.got))
		size = min(2*w.size, int(ahead/each), w.pending(), maxWindow)
	}
	*w = window{size: max(1, size)}
	return w.size
}

// pending returns how many messages there were behind the last one.
func (w *window) pending() int {
	meta, err := w.last.Metadata()
	if err != nil {
		return 0
	}
	return int(min(meta.NumPending, maxWindow))
}
