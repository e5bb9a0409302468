package tidings

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidings-go/tidings/internal/savepoint"
	"github.com/tidings-go/tidings/internal/scope"
	"github.com/tidings-go/tidings/internal/testhook"
)

// A node is the value that tidings keeps in a context. Methods are called on the
// innermost node, and ask the outer nodes if needed. Nodes are immutable.
type node struct {
	context.Context
	up     *node        // the next outer node; for a handler: where its event was published
	topic  *topic       // set if a handler or the like begins here; nil if only tx or header changes
	tx     *txState     // transactions, innermost first; nil outside
	header *DomainEvent // inside the handler's event, which never changes; or a header from WithCorrelationID
}

type (
	nodeKey  struct{}
	eventKey struct{}
)

// nodeFrom returns the innermost node of ctx, or nil. All methods of a node accept
// nil, which means: in no handler and no transaction.
func nodeFrom(ctx context.Context) *node {
	n, _ := ctx.Value(nodeKey{}).(*node)
	return n
}

func (n *node) Value(key any) any {
	switch key.(type) {
	case nodeKey:
		return n
	case eventKey:
		if n.topic != nil && n.header != nil {
			return n.boxed()
		}
	}
	return n.Context.Value(key)
}

// boxed returns a copy of the handler's event, which the caller may keep.
func (n *node) boxed() Event { return n.topic.event.copyOf(n.header) }

// transactions returns the transactions that n is in, innermost first, or nil.
func (n *node) transactions() *txState {
	if n == nil {
		return nil
	}
	return n.tx
}

// scope returns the innermost scope of a transaction that n is in, or nil.
func (n *node) scope() *txScope {
	if s := n.transactions(); s != nil {
		return s.scope
	}
	return nil
}

// depth returns how many handlers are nested at n.
func (n *node) depth() (depth int) {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.event != nil {
			depth++
		}
	}
	return depth
}

// origin returns the header from which events published in n take their correlation
// ID and, from its ID, their causation ID. It returns nil if there is none.
func (n *node) origin() *DomainEvent {
	for ; n != nil; n = n.up {
		if n.header != nil {
			return n.header
		}
	}
	return nil
}

// within reports whether n is inside a handler of bus. With late it reports whether n
// is inside a handler that was called after Close had returned, for an event of a
// transaction that committed only then.
func (n *node) within(bus *EventBus, late bool) bool {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.bus == bus && (n.topic.late || !late) {
			return true
		}
	}
	return false
}

// clock returns the clock of the bus whose handler n belongs to; nil means time.Now.
func (n *node) clock() func() time.Time {
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.bus != nil {
			return n.topic.bus.clock
		}
	}
	return nil
}

// nodeOf returns the context for a handler of the event with that header. The event
// was published in up. The handler sees the values of ctx and the transactions of tx.
func (t *topic) nodeOf(ctx context.Context, up *node, tx *txState, header *DomainEvent) *node {
	return &node{ctx, up, t, tx, header}
}

// contextOf returns a context like the one that handlers of event get. The bus passes
// it to the error handler.
func (t *topic) contextOf(ctx context.Context, event Event) context.Context {
	return t.nodeOf(ctx, nodeFrom(ctx), nil, t.event.unbox(event))
}

// depthError returns ErrMaxDepth together with the chain of events that led to event.
func depthError(n *node, event *eventType, limit int) error {
	names := []string{event.name}
	for ; n != nil; n = n.up {
		if n.topic != nil && n.topic.event != nil {
			names = append(names, n.topic.event.name)
		}
	}
	// Outermost first. The middle of a long chain repeats itself, so it is left out.
	const head, tail = 6, 3
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		if i == len(names)-1-head && i >= tail {
			fmt.Fprintf(&b, "… %d more … > ", i-tail+1)
			i = tail - 1
		}
		b.WriteString(names[i])
		if i > 0 {
			b.WriteString(" > ")
		}
	}
	return fmt.Errorf("%w (more than %d, see WithMaxDepth): %s", ErrMaxDepth, limit, b.String())
}

// A txState is one entry of the transactions in a context: a value that WithTx added,
// a scope that a TxFunc is about to open, or a scope that was entered.
type txState struct {
	value     any // for TxFrom; InTx also sets the next three fields
	db        *sql.DB
	isolation sql.IsolationLevel
	fate      *savepoint.Fate
	pending   *txScope // for a TxFunc that itself calls InTx or Transact
	scope     *txScope // the innermost one that was entered so far; events are added to it
	next      *txState
}

// A step is the memory for a txState and its node. It is allocated together with the
// object that it belongs to.
type step struct {
	node  node
	state txState
}

// enter returns a node on top of ctx that adds state to the transactions.
func enter(ctx context.Context, state txState) *node { return new(step).enter(ctx, state) }

func (s *step) enter(ctx context.Context, state txState) *node {
	s.node = node{Context: ctx, up: nodeFrom(ctx), tx: &s.state}
	if outer := s.node.up.transactions(); outer != nil {
		state.next = outer
		if state.scope == nil {
			state.scope = outer.scope
		}
	}
	s.state = state
	return &s.node
}

// WithTx returns a context in which [TxFrom] finds the transaction tx. It returns ctx
// itself if tx is nil. Call it in a [TxFunc], and after [NewTxHook]. WithTx alone
// does not make Publish wait for the commit.
func WithTx(ctx context.Context, tx any) context.Context {
	if tx == nil {
		return ctx
	}
	return enter(ctx, txState{value: tx})
}

// TxFrom returns the innermost transaction of type T that ctx carries, and whether
// there is one. Handlers in the phases InTransaction and BeforeCommit call it to
// write in the publisher's transaction; so can any other code that runs inside a
// transaction.
func TxFrom[T any](ctx context.Context) (T, bool) {
	if n := nodeFrom(ctx); n != nil {
		for s := n.tx; s != nil; s = s.next {
			if tx, ok := s.value.(T); ok {
				return tx, true
			}
		}
	}
	var none T
	return none, false
}

// HasTx reports whether ctx is in a transaction, so that events published with it
// wait for the commit: inside [InTx] and [Transact], and between [NewTxHook] and the
// end of its scope. It may return true although [TxFrom] finds no transaction of a
// certain type, since the TxFunc decides which values TxFrom finds. A transport that
// finds no transaction calls HasTx before it writes outside one.
func HasTx(ctx context.Context) bool {
	s := nodeFrom(ctx).scope()
	return s != nil && !s.Queue().Implicit
}

// newScope returns a node on top of ctx in which events are added to a new scope. The
// scope is nested in parent, or is outermost if parent is nil.
func newScope(ctx context.Context, parent *txScope) *node {
	if parent == nil {
		s := &struct {
			scope txScope
			queue txQueue
			step
		}{}
		s.scope.Init(&s.queue)
		return s.enter(ctx, txState{scope: &s.scope})
	}
	s := &struct {
		scope txScope
		step
	}{}
	s.scope.Nest(parent)
	return s.enter(ctx, txState{scope: &s.scope})
}

// openScope returns the scope in which a new scope is nested, or nil if there is
// none.
func (n *node) openScope() (*txScope, error) {
	s := n.enclosingScope()
	switch {
	case s == nil:
		return nil, nil
	case !s.Open():
		return nil, ErrTxDone
	case s.Queue().Implicit:
		return nil, nil // there is no database transaction to be part of
	}
	return s, nil
}

// enclosingScope returns the innermost scope, entered or pending.
func (n *node) enclosingScope() *txScope {
	if n == nil {
		return nil
	}
	if pending := n.tx.pendingScope(); pending != nil {
		return pending
	}
	return n.scope()
}

// pendingScope returns the innermost scope if it is pending, which means that no body
// has entered it yet.
func (s *txState) pendingScope() *txScope {
	for ; s != nil && (s.pending != nil || s.value != nil); s = s.next {
		if s.pending != nil {
			return s.pending
		}
	}
	return nil
}

// scopeOn returns the scope in which a transaction of db is nested, or nil if there
// is none.
func (n *node) scopeOn(db *sql.DB) (*txScope, error) {
	innermost, err := n.openScope()
	if err != nil || innermost == nil {
		return nil, err
	}
	if outer := n.tx.of(db); outer != nil {
		return n.tx.scopeIn(outer), nil
	}
	if innermost == n.tx.pendingScope() {
		return innermost, nil // the caller is a TxFunc
	}
	return nil, nil
}

// scopeWithin returns the innermost scope if it is inside outer, and outer otherwise.
func (n *node) scopeWithin(outer *txScope) *txScope {
	if inner := n.scope(); inner != nil && inner.Within(outer) {
		return inner
	}
	return outer
}

// of returns the innermost state that holds a transaction of db, or nil.
func (s *txState) of(db *sql.DB) *txState {
	for ; s != nil; s = s.next {
		if s.db == db {
			return s
		}
	}
	return nil
}

// scopeIn returns the innermost scope of the transaction that outer holds. outer is
// further out than s; scopes of other databases may be in between.
func (s *txState) scopeIn(outer *txState) *txScope {
	entered := s // after the loop: the one next to outer
	for t := s; t != outer; t = t.next {
		if t.value == nil && t.pending == nil {
			entered = t
		}
	}
	for s.scope.Queue() != entered.scope.Queue() {
		s = s.next
	}
	return s.scope
}

// outside returns the context for handlers that run after the end of a transaction.
// It is not cancelled: committed events are delivered even if the client has
// disconnected.
func outside(ctx context.Context) context.Context {
	n := nodeFrom(ctx)
	if ctx.Done() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	return n.withoutTx(ctx)
}

// withoutTx returns ctx without its transactions. n is the innermost node of ctx.
func (n *node) withoutTx(ctx context.Context) context.Context {
	if n.transactions() == nil {
		return ctx
	}
	return &node{Context: ctx, up: n}
}

// withBase lets the TxFunc of an outermost scope find the transactions of a test, in
// which it must set savepoints. See internal/testhook.
func withBase(ctx context.Context, parent *txScope) context.Context {
	if parent != nil {
		return ctx
	}
	var bases []*testhook.Base // innermost first
	for b := testhook.BaseFrom(ctx); b != nil; b = b.Outer {
		bases = append(bases, b)
	}
	for _, b := range slices.Backward(bases) {
		ctx = WithTx(ctx, b.Tx)
	}
	return ctx
}

// An item waits in the queue of a transaction until it ends. It is an event or a
// callback of OnCommit.
type item interface {
	bus() *EventBus
	name() string
	// awaits reports whether there is something to do in that phase.
	awaits(Phase) bool
	// run runs the handlers of that phase and returns their failures.
	run(ctx context.Context, phase Phase, tx *txState) []failure
	// dispatch adds the event to out for the transports of that phase, and returns
	// out.
	dispatch(phase Phase, out outbox) (outbox, error)
}

// queued is the part that all items have in common.
type queued struct {
	entry scope.Entry[item]
	from  *node // where it was published
}

// A txScope is a transaction or a savepoint inside one, and a txQueue holds the events
// that are published in a transaction.
type (
	txScope = scope.Scope[item]
	txQueue = scope.Queue[item]
)
