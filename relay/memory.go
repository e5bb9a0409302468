package relay

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
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

func (m memoryBroker) Publish(topic string, messages ...*message.Message) error {
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
			q.push(msg.Copy())
		}
	}
	return nil
}

func (m memoryBroker) Enqueue(group Group, messages ...*message.Message) error {
	q := m.queue(m.Topic(group.Name), group.Name)
	for _, msg := range messages {
		q.push(msg.Copy())
	}
	return nil
}

func (m memoryBroker) Subscriber(_ context.Context, group Group) (message.Subscriber, error) {
	return &memorySubscriber{memory: m.memory, group: group.Name, closed: make(chan struct{})}, nil
}

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
	messages list.List // of *message.Message; removed messages use no memory
	ready    chan struct{}
	deleted  chan struct{} // closed by forget
}

func (q *memoryQueue) push(m *message.Message) {
	q.mu.Lock()
	q.messages.PushBack(m)
	q.mu.Unlock()
	q.wake()
}

// pushBack returns a message that was not handled to the front.
func (q *memoryQueue) pushBack(m *message.Message) {
	q.mu.Lock()
	q.messages.PushFront(m)
	q.mu.Unlock()
	q.wake()
}

func (q *memoryQueue) pop() *message.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.messages.Front()
	if first == nil {
		return nil
	}
	if q.messages.Remove(first); q.messages.Len() > 0 {
		q.wake()
	}
	return first.Value.(*message.Message)
}

func (q *memoryQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

type memorySubscriber struct {
	memory *memory
	group  string
	once   sync.Once
	closed chan struct{}
	done   sync.WaitGroup
}

func (s *memorySubscriber) SubscribeInitialize(topic string) error {
	s.memory.queue(topic, s.group)
	return nil
}

func (s *memorySubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	q := s.memory.queue(topic, s.group)
	ctx, cancel := context.WithCancel(ctx)
	messages := make(chan *message.Message)
	s.done.Go(func() {
		defer cancel()
		defer close(messages)
		for s.await(ctx, q) {
			if m := q.pop(); m != nil && !s.pass(ctx, m, messages) {
				q.pushBack(m.Copy())
			}
		}
	})
	return messages, nil
}

// await waits until there may be a message. It returns false if the
// subscription has ended.
func (s *memorySubscriber) await(ctx context.Context, q *memoryQueue) bool {
	select {
	case <-s.closed:
	case <-ctx.Done():
	case <-q.deleted:
	case <-q.ready:
		return true
	}
	return false
}

// pass delivers a message, and reports whether it was acknowledged.
func (s *memorySubscriber) pass(ctx context.Context, m *message.Message, to chan<- *message.Message) bool {
	m.SetContext(ctx)
	select {
	case to <- m:
	case <-s.closed:
		return false
	case <-ctx.Done():
		return false
	}
	select {
	case <-m.Acked():
	case <-m.Nacked():
	case <-s.closed:
	case <-ctx.Done():
	}
	select {
	case <-m.Acked(): // just before the end
		return true
	default:
		return false
	}
}

func (s *memorySubscriber) Close() error {
	s.once.Do(func() { close(s.closed) })
	s.done.Wait()
	return nil
}
