package amqp

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidings-go/tidings/relay"
)

const (
	// refuseFor is how long a deleted topic is refused. All groups that are
	// alive have declared themselves again by then.
	refuseFor = 2 * relay.DeclareEvery

	// othersWithin is how long a group waits before it creates a topic again,
	// so that publishers in other processes also notice that it was deleted.
	othersWithin = time.Second
)

// topics are the topics that this process publishes or has subscribed to.
type topics struct {
	logger       *slog.Logger
	declareAgain func(relay.Group, *topic)

	mu     sync.Mutex
	byName map[string]*topic
	found  time.Time // when the first of the currently deleted topics was found
}

// A topic is what a process knows about one. It distinguishes a topic without
// groups from one that has lost them.
type topic struct {
	name string

	mu     sync.Mutex
	groups map[string]*presence // of this process, by name
	routed bool                 // a message has reached a queue
	found  time.Time            // when the topic was found gone; zero if it is there
}

// A presence is that of a group which consumes a topic, or declares it again
// and again.
type presence struct {
	group     relay.Group
	consumers int
	declared  time.Time // the last time
}

// presentFor is how long a group is present that has declared itself, and does
// not consume.
const presentFor = 2 * relay.DeclareEvery

// A goneError is for a topic that was deleted, and its groups with it.
type goneError struct{ wait time.Duration }

func (e *goneError) Error() string {
	return fmt.Sprintf("the exchange or all of its queues were deleted: no messages are accepted for %v, in which running groups declare themselves again", e.wait.Round(100*time.Millisecond))
}

// RetryAfter returns when to try again, for durable handlers.
func (e *goneError) RetryAfter() time.Duration { return e.wait }

func (ts *topics) of(name string) *topic {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.byName[name]
	if t == nil {
		t = &topic{name: name, groups: map[string]*presence{}}
		if ts.byName == nil {
			ts.byName = map[string]*topic{}
		}
		ts.byName[name] = t
	}
	return t
}

// gone records that a topic has no exchange or no queue, on a connection that
// was opened at since. It makes the groups of this process declare
// themselves again. A nil error means that the topic was gone for refuseFor,
// and that no group is alive.
func (ts *topics) gone(t *topic, since time.Time) error {
	groups, err := t.gone(since)
	if groups == nil {
		return err
	}
	ts.logger.Warn("relay/amqp: a topic was deleted, and accepts no messages until its groups have declared themselves again", slog.Any("error", err), slog.String("topic", t.name))
	for _, group := range groups {
		go ts.declareAgain(group, t)
	}
	return err
}

// makeAgain records that a group has found its topic without an exchange. It
// waits until the group may create it again.
func (ts *topics) makeAgain(t *topic) {
	_ = ts.gone(t, time.Now()) // the error is for publishers
	ts.mu.Lock()
	now := time.Now()
	if now.Sub(ts.found) > refuseFor {
		ts.found = now
	}
	wait := othersWithin - now.Sub(ts.found)
	ts.mu.Unlock()
	<-time.After(wait)
}

// refusal returns an error while the topic is refused.
func (t *topic) refusal() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refusalLocked(time.Now())
}

func (t *topic) refusalLocked(now time.Time) error {
	if t.found.IsZero() {
		return nil
	}
	if wait := refuseFor - now.Sub(t.found); wait > 0 {
		return &goneError{wait}
	}
	return nil
}

// reached records that a message has reached a queue.
func (t *topic) reached() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.routed = true
	if t.refusalLocked(time.Now()) == nil {
		t.found = time.Time{}
	}
}

// hasGroups reports whether this process knows of any group.
func (t *topic) hasGroups() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.routed || len(t.presentLocked()) > 0
}

// gone is [topics.gone] for one topic. It returns the groups if the deletion is
// news.
func (t *topic) gone(since time.Time) (news []relay.Group, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if err := t.refusalLocked(now); err != nil {
		return nil, err
	}
	news = t.presentLocked()
	if !t.found.IsZero() && since.Before(t.found) && len(news) == 0 {
		t.found, t.routed = time.Time{}, false
		return nil, nil
	}
	t.found = now
	return news, t.refusalLocked(now)
}

// presentLocked returns the groups of this process that are alive. It is not
// nil.
func (t *topic) presentLocked() []relay.Group {
	all := make([]relay.Group, 0, len(t.groups))
	for name, p := range t.groups {
		if p.consumers == 0 && time.Since(p.declared) > presentFor {
			delete(t.groups, name)
			continue
		}
		all = append(all, p.group)
	}
	return all
}

// declaredBy records that a group has declared itself, or begins or ends to
// consume if consumers is not 0.
func (t *topic) declaredBy(group relay.Group, consumers int) {
	if group.Queue {
		return // no topic's
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.groups[group.Name]
	if p == nil {
		p = &presence{}
		t.groups[group.Name] = p
	}
	p.group, p.declared = group, time.Now()
	p.consumers += consumers
	if consumers < 0 && p.consumers == 0 {
		delete(t.groups, group.Name)
	}
}

// has reports whether the group is present.
func (t *topic) has(group relay.Group) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.presentLocked(), func(g relay.Group) bool { return g.Name == group.Name })
}
