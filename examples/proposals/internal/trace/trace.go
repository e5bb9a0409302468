// Package trace remembers in memory what went over a bus, to show it as
// trees of cause and effect.
package trace

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
)

// A Trace records the events of a bus. The zero Trace is ready; it is safe
// for concurrent use.
type Trace struct {
	mu         sync.Mutex
	delivered  []tidings.Event
	rolledBack []tidings.Event
	failures   []error
}

// Register subscribes the trace to every event of bus, of whatever type.
func (t *Trace) Register(bus *tidings.EventBus) {
	tidings.Subscribe(bus, t.addDelivered, tidings.Named("trace.delivered"))
	tidings.Subscribe(bus, t.addRolledBack, tidings.AfterRollback, tidings.Named("trace.rolled_back"))
}

func (t *Trace) addDelivered(_ context.Context, e tidings.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delivered = append(t.delivered, e)
	return nil
}

func (t *Trace) addRolledBack(_ context.Context, e tidings.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rolledBack = append(t.rolledBack, e)
	return nil
}

// HandleError records a failure that has no caller left, see
// [tidings.WithErrorHandler].
func (t *Trace) HandleError(_ context.Context, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, err)
}

// Events returns how many events were delivered, and how many rolled back.
func (t *Trace) Events() (delivered, rolledBack int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.delivered), len(t.rolledBack)
}

// Failures returns what HandleError was given.
func (t *Trace) Failures() []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.failures)
}

// A Node is an event with what came of it.
type Node struct {
	Event      tidings.Event
	RolledBack bool // no handler heard of it but those that ran inside the transaction
	Failures   []*tidings.HandlerError
	Effects    []*Node // in the order of publishing
}

// Workflow returns the events of one correlation: those that nothing in it
// caused, with their effects below them.
func (t *Trace) Workflow(correlation uuid.UUID) []*Node {
	t.mu.Lock()
	defer t.mu.Unlock()

	nodes := map[uuid.UUID]*Node{}
	var published []*Node
	add := func(events []tidings.Event, rolledBack bool) {
		for _, e := range events {
			if e.CorrelationID() == correlation {
				n := &Node{Event: e, RolledBack: rolledBack}
				nodes[e.EventID()] = n
				published = append(published, n)
			}
		}
	}
	add(t.delivered, false)
	add(t.rolledBack, true)
	slices.SortFunc(published, func(a, b *Node) int {
		x, y := a.Event.EventID(), b.Event.EventID() // they increase
		return slices.Compare(x[:], y[:])
	})

	for _, err := range t.failures {
		if failure := (*tidings.HandlerError)(nil); errors.As(err, &failure) {
			if n := nodes[failure.Event.EventID()]; n != nil {
				n.Failures = append(n.Failures, failure)
			}
		}
	}
	var roots []*Node
	for _, n := range published {
		if cause := nodes[n.Event.CausationID()]; cause != nil {
			cause.Effects = append(cause.Effects, n)
		} else {
			roots = append(roots, n)
		}
	}
	return roots
}
