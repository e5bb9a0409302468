package nats

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A position is the place of a group in the stream of a topic, as this process
// has last seen it. If the consumer was deleted, it begins there again.
type position struct {
	stream   *jetstream.StreamInfo
	consumer string
	made     time.Time // when the consumer was created
	floor    uint64    // the messages up to this one are acknowledged
}

// positions are the positions of the groups that this process has had.
type positions struct {
	mu sync.Mutex
	of map[[2]string]position // by group and topic
}

func (p *positions) get(group, topic string) (position, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.of[[2]string{group, topic}]
	return at, ok
}

func (p *positions) set(group, topic string, at position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[[2]string]position{}
	}
	key := [2]string{group, topic}
	if was := p.of[key]; was.made.Equal(at.made) { // answers may overtake each other
		at.floor = max(at.floor, was.floor)
	}
	p.of[key] = at
}
