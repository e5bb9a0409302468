package relay

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

func init() {
	RegisterBroker("memory", func(_ context.Context, t Target) (Broker, error) {
		if err := t.Params.Unused(); err != nil {
			return nil, err
		}
		name := t.URL.Host
		if name == "" || t.URL.Path != "" {
			return nil, fmt.Errorf("the URL must be memory://NAME; all relays of this process with the same NAME are connected")
		}
		memoriesMu.Lock()
		defer memoriesMu.Unlock()
		if memories[name] == nil {
			memories[name] = &memory{topics: map[string]map[string]*memoryQueue{}, gone: map[string]*goneTopic{}}
		}
		return memoryBroker{memories[name]}, nil
	})
}

// The memory brokers of this process, which last as long as it does.
var (
	memoriesMu sync.Mutex
	memories   = map[string]*memory{}
)

// A memory is a broker within the process: for tests, and for programs that
// have no broker yet. Its messages are lost with the process.
type memory struct {
	mu     sync.Mutex
	topics map[string]map[string]*memoryQueue // by topic and group
	gone   map[string]*goneTopic
}

// A goneTopic is a topic that forget has deleted, with the groups that have not
// declared themselves again.
type goneTopic struct {
	groups map[string]*memoryQueue
	since  time.Time
}

type memoryBroker struct{ *memory }

func (memoryBroker) Topic(name string) string { return name }
func (memoryBroker) Close() error             { return nil }

func (m memoryBroker) Publish(_ context.Context, topic string, messages ...*Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.gone[topic]; g != nil {
		if time.Since(g.since) < 2*DeclareEvery {
			return fmt.Errorf("the topic %q was deleted, and its consumers have not declared themselves again", topic)
		}
		delete(m.gone, topic)
	}
	for _, msg := range messages {
		for _, q := range m.topics[topic] {
			q.push(msg.clone())
		}
	}
	return nil
}

func (m memoryBroker) Enqueue(_ context.Context, group Group, messages ...*Message) error {
	q := m.queue(m.Topic(group.Name), group.Name)
	for _, msg := range messages {
		q.push(msg.clone())
	}
	return nil
}

// clone returns a copy for one group, whose handler may change the metadata.
func (m *Message) clone() *Message { return &Message{m.ID, m.Body, maps.Clone(m.Metadata)} }

func (m *memory) queue(topic, group string) *memoryQueue {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.gone[topic]; g != nil {
		if delete(g.groups, group); len(g.groups) == 0 {
			delete(m.gone, topic)
		}
	}
	if m.topics[topic] == nil {
		m.topics[topic] = map[string]*memoryQueue{}
	}
	q := m.topics[topic][group]
	if q == nil {
		q = &memoryQueue{ready: make(chan struct{}, 1), deleted: make(chan struct{})}
		m.topics[topic][group] = q
	}
	return q
}

// forget deletes the queue of a group, with all messages in it; the queues of
// all groups if group is "", and of all topics if topic is "". Tests use it to
// do what an operator may do to another broker.
func (m *memory) forget(topic, group string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for t, groups := range m.topics {
		if topic != "" && t != topic {
			continue
		}
		for g, q := range groups {
			if group == "" || g == group {
				close(q.deleted)
			}
		}
		if group != "" {
			delete(groups, group)
			continue
		}
		m.gone[t] = &goneTopic{groups, time.Now()}
		delete(m.topics, t)
	}
}

// A memoryQueue has the messages of a topic for a group. ready has an element
// whenever there are messages for which no subscriber was woken.
type memoryQueue struct {
	mu       sync.Mutex
	messages list.List // of *Message; removed messages use no memory
	ready    chan struct{}
	deleted  chan struct{} // closed by forget
}

func (q *memoryQueue) push(m *Message) {
	q.mu.Lock()
	q.messages.PushBack(m)
	q.mu.Unlock()
	q.wake()
}

// pushBack returns a message that was not handled to the front.
func (q *memoryQueue) pushBack(m *Message) {
	q.mu.Lock()
	q.messages.PushFront(m)
	q.mu.Unlock()
	q.wake()
}

func (q *memoryQueue) pop() *Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.messages.Front()
	if first == nil {
		return nil
	}
	if q.messages.Remove(first); q.messages.Len() > 0 {
		q.wake()
	}
	return first.Value.(*Message)
}

func (q *memoryQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (m memoryBroker) Declare(_ context.Context, group Group, topic string) error {
	m.queue(topic, group.Name)
	return nil
}

func (m memoryBroker) Consume(ctx context.Context, group Group, topic string, handle func(*Message) bool) (<-chan error, error) {
	q := m.queue(topic, group.Name)
	ended := make(chan error, 1)
	go func() { ended <- q.consume(ctx, handle) }()
	return ended, nil
}

var errDeleted = errors.New("the queue was deleted")

func (q *memoryQueue) consume(ctx context.Context, handle func(*Message) bool) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.deleted:
			return errDeleted
		case <-q.ready:
		}
		if m := q.pop(); m != nil && !handle(m) {
			q.pushBack(m)
		}
	}
}
