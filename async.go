package tidings

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// asyncTransport is the transport of Async. Each handler has a queue. Queues that
// hold events wait in line for a worker. A worker takes one event and puts the queue
// back at the end of the line. So a handler never handles two events at once, and no
// queue starves. Workers are goroutines that are started on demand and end when the
// line is empty.
type asyncTransport struct {
	bus     *EventBus
	serial  atomic.Uint64 // numbers handlers without a name
	entered *topic        // for the nodes of its handlers: it has the bus but no event

	mu      sync.Mutex
	queues  map[string]*asyncQueue
	line    []*asyncQueue // queues that hold events and are not with a worker
	workers int
}

type asyncQueue struct {
	deliver func(context.Context, Event) error
	tasks   []asyncTask
	busy    bool // in line, or with a worker
}

type asyncTask struct {
	ctx   *node
	event Event
}

func newAsyncTransport(bus *EventBus) *asyncTransport {
	return &asyncTransport{bus: bus, entered: &topic{bus: bus}, queues: map[string]*asyncQueue{}}
}

func (a *asyncTransport) Phase() Phase { return AfterCommit }

// Encode is never called: Async keeps events as they are.
func (a *asyncTransport) Encode(context.Context, Outgoing) (any, error) { return nil, nil }

func (a *asyncTransport) Handle(h Handler) (stop func(), err error) {
	if len(h.Options) > 0 {
		return nil, fmt.Errorf("%v is for another transport", h.Options[0])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queues[h.Name] = &asyncQueue{deliver: h.Deliver}
	return func() { a.forget(h.Name) }, nil
}

// forget removes a handler. Events in its queue are still handled.
func (a *asyncTransport) forget(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.queues, name)
}

// Send queues each event for each of its handlers whose queue has room.
func (a *asyncTransport) Send(ctx context.Context, events []Outgoing) error {
	// The handlers' context has the values of the publisher's context, and remembers
	// where the event was published: so handlers may publish while Close drains the
	// queue, and WithMaxDepth also ends a chain of Async handlers.
	base := &node{Context: context.WithoutCancel(ctx), up: nodeFrom(ctx), topic: a.entered}
	var errs []error
	for _, d := range events {
		for _, name := range d.Handlers {
			if err := a.send(base, d.Event, name); err != nil {
				handler, _, _ := strings.Cut(name, "\x00") // see Subscription.key
				errs = append(errs, &HandlerError{Handler: handler, Event: d.Event, Err: err})
			}
		}
	}
	return errors.Join(errs...)
}

func (a *asyncTransport) send(ctx *node, event Event, name string) error {
	a.bus.inflight.StartDeferred()
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.queues[name]
	switch {
	case a.bus.gaveUp.Load(), a.bus.drained.Load():
		a.bus.inflight.FinishDeferred()
		return ErrClosed
	case q == nil: // unsubscribed while the event was published
		a.bus.inflight.FinishDeferred()
		return nil
	case a.bus.queueLimit > 0 && len(q.tasks) >= a.bus.queueLimit:
		a.bus.inflight.FinishDeferred()
		return ErrQueueFull
	}
	q.tasks = append(q.tasks, asyncTask{ctx, event})
	if !q.busy {
		q.busy = true
		a.line = append(a.line, q)
		if a.workers < a.bus.workers {
			a.workers++
			go a.work()
		}
	}
	return nil
}

// work handles events until no queue is in line.
func (a *asyncTransport) work() {
	returned := false
	defer func() {
		if !returned { // a handler has ended this goroutine
			go a.work()
		}
	}()
	for a.workOne() {
	}
	returned = true
}

// workOne handles one event. It returns false if there is none; then the worker ends.
func (a *asyncTransport) workOne() bool {
	a.mu.Lock()
	if len(a.line) == 0 {
		a.workers--
		a.mu.Unlock()
		return false
	}
	q := shift(&a.line)
	task := shift(&q.tasks)
	a.mu.Unlock()

	defer func() {
		a.mu.Lock()
		if len(q.tasks) > 0 {
			a.line = append(a.line, q)
		} else {
			q.busy = false
		}
		a.mu.Unlock()
		a.bus.inflight.FinishDeferred()
	}()
	if err := q.deliver(task.ctx, task.event); err != nil {
		a.bus.report(a.bus.topicOf(reflect.TypeOf(task.event)).contextOf(task.ctx, task.event), err)
	}
	return true
}

// shift removes the first element and returns it. When the slice becomes empty, shift
// releases its array, which may be large after a burst.
func shift[T any](s *[]T) T {
	var none T
	first := (*s)[0]
	(*s)[0] = none
	if *s = (*s)[1:]; len(*s) == 0 {
		*s = nil
	}
	return first
}
