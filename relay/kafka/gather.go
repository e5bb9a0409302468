package kafka

import (
	"sync"
	"time"
)

// A gathering is the start of the workers of a handler, for one topic. Those
// who are in the group first get all the partitions, and the others have to wait
// until the messages in work on theirs are done. So nobody begins before all are
// there and have got their share, or some time has passed.
type gathering struct {
	once    sync.Once
	mu      sync.Mutex
	missing int
	over    chan struct{} // closed when it is over
}

const (
	gatherWithin = 3 * time.Second
	shareWithin  = 2 * heartbeat // until those who were first know of the others
)

func newGathering(workers int) *gathering {
	g := &gathering{missing: workers, over: make(chan struct{})}
	if workers < 2 {
		g.end()
	} else {
		time.AfterFunc(gatherWithin, g.end)
	}
	return g
}

// arrive says that another one is in the group.
func (g *gathering) arrive() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missing--; g.missing == 0 {
		time.AfterFunc(shareWithin, g.end)
	}
}

func (g *gathering) end() { g.once.Do(func() { close(g.over) }) }
