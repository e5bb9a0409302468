package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A Tree is returned by [Log.Workflow]. Its roots are the events that no event
// in the log caused; their effects are below them.
type Tree []*Node

// A Node is an event of a workflow.
type Node struct {
	Recorded         // Event is nil if Err is not
	Err      error   // a *DecodeError, or nil
	Effects  []*Node // what its handlers published, in the order of positions
}

// Workflow returns the events of a correlation, as a tree of cause and effect;
// the tree is empty if there are none. An event whose cause is not in the log,
// or belongs to another workflow, is a root. If causes form a cycle, its first
// event is a root, so that each event is in the tree once. An event that cannot
// be decoded is in the tree with its error.
//
// The whole workflow is held in memory.
func (l *Log) Workflow(ctx context.Context, correlation uuid.UUID) (Tree, error) {
	var nodes []*Node
	for r, err := range l.Read(ctx, Correlation(correlation)) {
		if err != nil && !isDecode(err) {
			return nil, err
		}
		nodes = append(nodes, &Node{Recorded: r, Err: err})
	}
	return plant(nodes), nil
}

// plant links nodes, which are in the order of positions.
func plant(nodes []*Node) (roots Tree) {
	byID := make(map[uuid.UUID]*Node, len(nodes))
	for _, n := range nodes {
		byID[n.Envelope.ID] = n
	}
	reached := make(map[*Node]bool, len(nodes))
	reach := func(n *Node) {
		for todo := []*Node{n}; len(todo) > 0; {
			n, todo = todo[len(todo)-1], todo[:len(todo)-1]
			reached[n] = true
			todo = append(todo, n.Effects...)
		}
	}
	for _, n := range nodes {
		if cause := byID[n.Envelope.CausationID]; cause != nil {
			cause.Effects = append(cause.Effects, n)
		} else {
			roots = append(roots, n)
		}
	}
	for _, root := range roots {
		reach(root)
	}
	for _, n := range nodes {
		if reached[n] {
			continue
		}
		// The causes of n form a cycle: cut it before its first event.
		first := firstInCircle(n, byID)
		cause := byID[first.Envelope.CausationID]
		cause.Effects = slices.DeleteFunc(cause.Effects, func(effect *Node) bool { return effect == first })
		roots = append(roots, first)
		reach(first)
	}
	slices.SortFunc(roots, func(a, b *Node) int { return a.Position.Compare(b.Position) })
	return roots
}

// firstInCircle returns the first event of the cycle that the causes of n lead
// into.
func firstInCircle(n *Node, byID map[uuid.UUID]*Node) *Node {
	cause := func(n *Node) *Node { return byID[n.Envelope.CausationID] }
	passed := map[*Node]bool{}
	for !passed[n] {
		passed[n] = true
		n = cause(n)
	}
	first := n
	for m := cause(n); m != n; m = cause(m) {
		if m.Position.Compare(first.Position) < 0 {
			first = m
		}
	}
	return first
}

// String returns the tree as text, one line per event: its registered name, the
// end of its ID, and when it occurred: the time of a root, or how long after
// the root. The same events always give the same text.
//
//	crm.proposal_accepted …7ad43c1f 2026-03-01T09:30:00.123456Z
//	├─ clients.onboarded …0b5d9e22 +1.204ms
//	│  └─ projects.created …c33fa071 +3.87ms
//	└─ mail.sent …91e0aa5b +2.1ms: cannot be decoded: …
func (t Tree) String() string {
	var b strings.Builder
	for _, root := range t {
		root.line(&b, root.Envelope.OccurredAt.Format(time.RFC3339Nano))
		root.effects(&b, "", root.Envelope.OccurredAt)
	}
	return b.String()
}

func (n *Node) line(b *strings.Builder, when string) {
	id := n.Envelope.ID.String() // begins with the time, so siblings share that part
	fmt.Fprintf(b, "%s …%s %s", n.Envelope.Type, id[len(id)-8:], when)
	if n.Err != nil {
		reason := n.Err
		if decode := (*DecodeError)(nil); errors.As(n.Err, &decode) {
			reason = decode.Err
		}
		fmt.Fprintf(b, ": cannot be decoded: %s", strings.ReplaceAll(reason.Error(), "\n", "; "))
	}
	b.WriteByte('\n')
}

// effects writes the nodes below n, each line after indent.
func (n *Node) effects(b *strings.Builder, indent string, start time.Time) {
	for i, effect := range n.Effects {
		branch, below := "├─ ", "│  "
		if i == len(n.Effects)-1 {
			branch, below = "└─ ", "   "
		}
		b.WriteString(indent + branch)
		after := effect.Envelope.OccurredAt.Sub(start)
		sign := "+"
		if after < 0 { // another machine's clock
			sign = ""
		}
		effect.line(b, sign+after.String())
		effect.effects(b, indent+below, start)
	}
}
