package tidings

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
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

// transactions returns the transactions that n is in, innermost first, or nil. For a
// context that a TxFunc was given, and that its library has kept, these are the ones of
// the body that runs.
func (n *node) transactions() *txState {
	if n == nil {
		return nil
	}
	for s := n.tx; s != nil; s = s.next {
		if s.pending != nil {
			if inside := s.pending.inside.Load(); inside != nil {
				return inside.tx
			}
		}
		if s.pending != nil || s.value == nil {
			break
		}
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
// the scope of a transaction that a TxFunc is about to begin (pending), or a scope that
// was entered. Each belongs to a database.
type txState struct {
	db        any
	value     any // for TxFrom; for the *sql.Tx of InTx, the next two fields are set too
	isolation sql.IsolationLevel
	fate      *savepoint.Fate
	pending   *transaction
	own       *txScope // of a pending or entered scope
	scope     *txScope // the innermost one; events are added to it
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
	state.scope = state.own
	if outer := s.node.up.transactions(); outer != nil {
		state.next = outer
		if state.scope == nil {
			state.scope = outer.scope
		}
	}
	s.state = state
	return &s.node
}

// WithTx returns a context in which [TxFrom] finds tx, a transaction of db. It returns ctx
// itself if tx is nil. Call it in a [TxFunc], and after [NewTxHook], with the same db as
// there. WithTx alone does not make Publish wait for the commit.
//
// db stands for the database: the value that all code with this database has, such as the
// *sql.DB or the *pgxpool.Pool. It is compared with ==. WithTx panics if db is nil or
// cannot be compared. A transaction may be added in several forms, as a *gorm.DB and as
// the *sql.Tx behind it.
func WithTx(ctx context.Context, db, tx any) context.Context {
	mustBeDatabase(db, "WithTx")
	if tx == nil {
		return ctx
	}
	return enter(ctx, txState{db: db, value: tx})
}

// mustBeDatabase panics unless db can stand for a database.
func mustBeDatabase(db any, function string) {
	mustNotBeNil(db == nil, function, "database")
	if !reflect.TypeOf(db).Comparable() {
		panic(fmt.Sprintf("tidings: %s with a %T for the database, which cannot be compared: pass a pointer", function, db))
	}
}

// TxFrom returns the innermost transaction of db that ctx is in and that has type T, and
// whether there is one. db stands for the database as in [WithTx]. Handlers in the phases
// InTransaction and BeforeCommit call it to write in the publisher's transaction; so can
// any other code that runs inside a transaction.
func TxFrom[T any](ctx context.Context, db any) (T, bool) {
	for s := nodeFrom(ctx).transactions(); s != nil; s = s.next {
		if s.db == db && s.value != nil {
			if tx, ok := s.value.(T); ok {
				return tx, true
			}
		}
	}
	var none T
	return none, false
}

// TxDatabase returns the database of the innermost transaction that ctx is in, and
// whether it is in one: inside [InTx] and [Transact], and between [NewTxHook] and the end
// of its scope. Events that are published with ctx wait for the commit. Code that joins
// transactions of its own database calls it where [TxFrom] finds none, to refuse the
// transaction of another one: what it wrote beside that would stay if that rolls back.
func TxDatabase(ctx context.Context) (db any, ok bool) {
	for s := nodeFrom(ctx).transactions(); s != nil; s = s.next {
		if s.own != nil && !s.own.Queue().Implicit {
			return s.db, true
		}
	}
	return nil, false
}

// newScope returns a node on top of ctx in which events are added to a new scope, of a
// transaction of db. The scope is nested in parent, or is outermost if parent is nil.
func newScope(ctx context.Context, db any, parent *txScope) *node {
	if parent == nil {
		s := &struct {
			scope txScope
			queue txQueue
			step
		}{}
		s.scope.Init(&s.queue)
		return s.enter(ctx, txState{db: db, own: &s.scope})
	}
	s := &struct {
		scope txScope
		step
	}{}
	s.scope.Nest(parent)
	return s.enter(ctx, txState{db: db, own: &s.scope})
}

// scopeOn returns the scope in which a transaction of db is nested, or nil if there
// is none. It returns an error if ctx belongs to a transaction that has ended.
func (n *node) scopeOn(db any) (*txScope, error) {
	innermost := n.scope()
	if innermost == nil {
		return nil, nil
	}
	if !innermost.Open() {
		return nil, ErrTxDone
	}
	own := n.transactions().scopeOf(db)
	if own != nil && !own.Open() {
		return nil, ErrTxDone
	}
	return own, nil
}

// scopeOf returns the innermost scope of db, entered or pending, or nil.
func (s *txState) scopeOf(db any) *txScope {
	for ; s != nil; s = s.next {
		if s.own != nil && s.db == db {
			return s.own
		}
	}
	return nil
}

// scopeWithin returns the innermost scope if it is inside outer, and outer otherwise.
func (n *node) scopeWithin(outer *txScope) *txScope {
	if inner := n.scope(); inner != nil && inner.Within(outer) {
		return inner
	}
	return outer
}

// sqlTxOf returns the innermost state with a *sql.Tx of db, or nil.
func (s *txState) sqlTxOf(db *sql.DB) *txState {
	for ; s != nil; s = s.next {
		if _, ok := s.value.(*sql.Tx); ok && s.db == any(db) {
			return s
		}
	}
	return nil
}

// entered reports whether a scope of db was entered.
func (s *txState) entered(db any) bool {
	for ; s != nil; s = s.next {
		if s.db == db && s.own != nil && s.pending == nil {
			return true
		}
	}
	return false
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
		ctx = WithTx(ctx, b.DB, b.Tx)
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
