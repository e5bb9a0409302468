package kafka

import (
	"sync"
	"time"

	"github.com/tidings-go/tidings/relay"
)

// A gathering coordinates the start of the workers of a handler, for one topic.
// The first members of the group would get all the partitions, and the others
// would wait until the messages being handled there are done. So no worker
// begins before all have joined and got their share, or some time has passed.
type gathering struct {
	once    sync.Once
	mu      sync.Mutex
	members int // that run; guarded by gatherings.mu
	missing int
	over    chan struct{} // closed at the end of the gathering
}

// gatherings are those of the groups that consume.
type gatherings struct {
	mu sync.Mutex
	of map[[2]string]*gathering // by group and topic
}

// join returns the gathering for a new member.
func (g *gatherings) join(group relay.Group, topic string) *gathering {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = map[[2]string]*gathering{}
	}
	key := [2]string{group.Name, topic}
	if g.of[key] == nil {
		g.of[key] = newGathering(group.Workers)
	}
	g.of[key].members++
	return g.of[key]
}

// leave forgets a gathering with its last member.
func (g *gatherings) leave(group relay.Group, topic string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := [2]string{group.Name, topic}
	if g.of[key].members--; g.of[key].members == 0 {
		delete(g.of, key)
	}
}

const (
	gatherWithin = 3 * time.Second
	shareWithin  = 2 * heartbeat // until the first members know of the others
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

// arrive records that another member has joined the group.
func (g *gathering) arrive() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missing--; g.missing == 0 {
		time.AfterFunc(shareWithin, g.end)
	}
}

func (g *gathering) end() { g.once.Do(func() { close(g.over) }) }
