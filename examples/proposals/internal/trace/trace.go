// Package trace keeps in memory what an event log does not have: which events
// rolled back, and which handlers failed.
package trace

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/eventlog"
)

// A Trace records the events of a bus. The zero Trace is ready to use; it is safe
// for concurrent use.
type Trace struct {
	mu         sync.Mutex
	rolledBack []tidings.Event
	failures   []error
}

// Register subscribes the trace to every event of bus, of whatever type.
func (t *Trace) Register(bus *tidings.EventBus) {
	tidings.Subscribe(bus, t.addRolledBack, tidings.AfterRollback, tidings.Named("trace.rolled_back"))
}

func (t *Trace) addRolledBack(_ context.Context, e tidings.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rolledBack = append(t.rolledBack, e)
	return nil
}

// HandleError records an error that is returned to no caller, see
// [tidings.WithErrorHandler].
func (t *Trace) HandleError(_ context.Context, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, err)
}

// RolledBack returns how many events rolled back.
func (t *Trace) RolledBack() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rolledBack)
}

// Failures returns what HandleError was given.
func (t *Trace) Failures() []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.failures)
}

// A Node is an event with its effects.
type Node struct {
	Event      tidings.Event
	RolledBack bool // only handlers inside the transaction ran
	Failures   []*tidings.HandlerError
	Effects    []*Node // in the order of publishing
}

// Workflow returns the events of a correlation, from the log and from the trace.
func (t *Trace) Workflow(logged eventlog.Tree, correlation uuid.UUID) []*Node {
	t.mu.Lock()
	defer t.mu.Unlock()

	nodes := map[uuid.UUID]*Node{}
	roots := grow(nodes, logged)
	rolledBack := slices.DeleteFunc(slices.Clone(t.rolledBack), func(e tidings.Event) bool { return e.CorrelationID() != correlation })
	slices.SortFunc(rolledBack, func(a, b tidings.Event) int {
		x, y := a.EventID(), b.EventID() // they increase, so causes come first
		return slices.Compare(x[:], y[:])
	})
	for _, e := range rolledBack {
		n := &Node{Event: e, RolledBack: true}
		nodes[e.EventID()] = n
		if cause := nodes[e.CausationID()]; cause != nil {
			cause.Effects = append(cause.Effects, n)
		} else {
			roots = append(roots, n)
		}
	}
	for _, err := range t.failures {
		if failure := (*tidings.HandlerError)(nil); errors.As(err, &failure) {
			if n := nodes[failure.Event.EventID()]; n != nil {
				n.Failures = append(n.Failures, failure)
			}
		}
	}
	return roots
}

// grow converts nodes of the log, and indexes them by ID. It leaves out events that
// the program cannot decode any more.
func grow(nodes map[uuid.UUID]*Node, logged []*eventlog.Node) (grown []*Node) {
	for _, l := range logged {
		effects := grow(nodes, l.Effects)
		if l.Err != nil {
			grown = append(grown, effects...)
			continue
		}
		n := &Node{Event: l.Event, Effects: effects}
		nodes[l.Event.EventID()] = n
		grown = append(grown, n)
	}
	return grown
}
