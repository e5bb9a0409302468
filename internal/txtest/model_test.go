package txtest_test

import (
	"fmt"
	"slices"
	"strings"
)

// The model implements the documentation with plain slices, for one goroutine.

type modelBus struct {
	run     *fuzzRun[*modelCtx]
	subs    []*modelSub
	handles int
	txs     int // of databases
	broken  [2]map[string]bool
}

type modelSub struct {
	id      int
	handler *fuzzHandler
	removed bool
	called  bool
}

// A modelCtx is where code runs.
type modelCtx struct {
	scope    *modelScope // innermost, nil outside
	scopes   []*modelScope
	dbs      [2]modelTx // the transactions of InTx that ctx is in
	handle   int        // what TxFrom finds, 0: nothing
	depth    int
	event    int // being handled, 0: none
	workflow int // the event that it started with, 0: none
}

type modelTx struct {
	number int     // what TxFrom finds, 0: nothing
	doomed *string // why it cannot commit
}

// The databases of the model.
const (
	dbA, dbB  = 0, 1 // of InTx
	dbHandles = 2    // of the other TxFuncs
	dbNone    = -1
)

type modelScope struct {
	txn    *modelTxn
	parent *modelScope
	state  string // "open", "committed" or "rolled back"
}

type modelTxn struct {
	db     int
	items  []*modelItem
	sealed bool
	path   []*modelScope // those in progress, the outermost first
}

// begin returns a new scope of a transaction of db, inside parent if that is not nil:
// whichever scope that is, inside the innermost one.
func begin(db int, parent *modelScope) *modelScope {
	s := &modelScope{state: "open"}
	if parent == nil {
		s.txn = &modelTxn{db: db}
	} else {
		s.txn, s.parent = parent.txn, parent
		if parent.inProgress() {
			s.parent = s.txn.innermost()
		}
	}
	if s.inProgress() {
		s.txn.path = append(s.txn.path, s)
	}
	return s
}

func (t *modelTxn) innermost() *modelScope { return t.path[len(t.path)-1] }

// end ends s, unless it or a scope around it has ended.
func (s *modelScope) end(state string) {
	if s.inProgress() {
		s.state = state
		s.txn.path = s.txn.path[:slices.Index(s.txn.path, s)]
	}
}

func (s *modelScope) inProgress() bool {
	for ; s != nil; s = s.parent {
		if s.state != "open" {
			return false
		}
	}
	return true
}

// A modelItem is an event in a transaction, or a callback.
type modelItem struct {
	n        int
	subs     []*modelSub
	scope    *modelScope
	from     *modelCtx
	workflow int
	prepared bool
	callback func(*modelCtx)
}

func (m *modelBus) subscribe(id int, h *fuzzHandler) {
	m.subs = append(m.subs, &modelSub{id: id, handler: h})
}

func (m *modelBus) unsubscribe(id int) { m.subs[id].removed = true }

func (m *modelBus) live() (ids []int) {
	for _, s := range m.subs {
		if !s.removed {
			ids = append(ids, s.id)
		}
	}
	return ids
}

func (m *modelBus) breakNext(db int, statement string) {
	if m.broken[db] == nil {
		m.broken[db] = map[string]bool{}
	}
	m.broken[db][statement] = true
}

func (m *modelBus) statement(db int, s string) string {
	m.run.note("%s on %c", s, 'a'+db)
	if m.broken[db][s] {
		delete(m.broken[db], s)
		return "broken"
	}
	return ""
}

func (s *modelScope) open() bool { return s.inProgress() && !s.txn.sealed }

func (s *modelScope) dropped() bool {
	for ; s != nil; s = s.parent {
		if s.state == "rolled back" {
			return true
		}
	}
	return false
}

func (c *modelCtx) within(s *modelScope) *modelCtx {
	inside := *c
	inside.scope = s
	inside.scopes = append(slices.Clone(c.scopes), s)
	return &inside
}

// inTx says which transactions c is in.
func (c *modelCtx) inTx() string {
	return fmt.Sprintf("handle=%d a=%d b=%d", c.handle, c.dbs[dbA].number, c.dbs[dbB].number)
}

// context returns the context of what handles it.
func (it *modelItem) context(tx *modelCtx) *modelCtx {
	return &modelCtx{
		scope: tx.scope, dbs: tx.dbs, scopes: tx.scopes, handle: tx.handle,
		depth: it.from.depth + 1, event: it.n, workflow: it.workflow,
	}
}

func (m *modelBus) publish(c *modelCtx, how string, n int) string {
	switch {
	case c.depth >= fuzzMaxDepth:
		return "too deep"
	case c.scope != nil && !c.scope.open():
		return "done"
	}
	it := &modelItem{n: n, from: c, workflow: c.workflow}
	if it.workflow == 0 {
		it.workflow = n
	}
	for _, s := range m.subs {
		if !s.removed && (s.handler.on == "any" || strings.HasSuffix(how, s.handler.on)) {
			it.subs = append(it.subs, s)
		}
	}
	if c.scope != nil {
		return join(m.enqueue(c, it))
	}
	// A transaction of one event.
	s := begin(dbNone, nil)
	inside := c.within(s)
	failures := m.enqueue(inside, it)
	if len(failures) == 0 {
		failures = m.prepare(inside)
	}
	if len(failures) == 0 {
		s.end("committed")
	} else {
		s.end("rolled back")
	}
	m.finish(s.txn, func(f ...string) { failures = append(failures, f...) })
	return join(failures)
}

func join(failures []string) string { return strings.Join(failures, " ") }

func (m *modelBus) enqueue(c *modelCtx, it *modelItem) []string {
	it.scope = c.scope.txn.innermost()
	it.scope.txn.items = append(it.scope.txn.items, it)
	if failures := m.handlers(it, "InTransaction", c); len(failures) > 0 {
		return failures
	}
	return m.send("InTransaction", []*modelItem{it}, c)
}

// handlers runs the handlers of one phase.
func (m *modelBus) handlers(it *modelItem, phase string, tx *modelCtx) (failures []string) {
	var subs []*modelSub
	for _, s := range it.subs {
		if s.handler.how == phase && !s.removed {
			subs = append(subs, s)
		}
	}
	for _, s := range subs {
		if s.handler.once {
			if s.called {
				continue
			}
			s.called, s.removed = true, true
		}
		c := it.context(tx)
		failed := m.run.handle(c, s.id, it.n, fmt.Sprintf("%s %s cause=%d workflow=%d", phase, c.inTx(), it.from.event, it.workflow))
		if failed == "" {
			continue
		}
		failures = append(failures, fmt.Sprintf("h%d(%d: %s)", s.id, it.n, failed))
		if phase == "InTransaction" || phase == "BeforeCommit" {
			break
		}
	}
	return failures
}

// send hands items to the transport of that phase.
func (m *modelBus) send(phase string, items []*modelItem, tx *modelCtx) (failures []string) {
	var deliveries, names []string
	var events []int
	for _, it := range items {
		var to []string
		for _, s := range it.subs {
			if s.handler.how == "via "+phase && !s.removed {
				to = append(to, fmt.Sprintf("h%d", s.id))
			}
		}
		if to != nil {
			names, events = append(names, strings.Join(to, ", ")), append(events, it.n)
			deliveries = append(deliveries, fmt.Sprintf("%d to %s", it.n, strings.Join(to, "+")))
		}
	}
	if deliveries == nil {
		return nil
	}
	if failed := m.run.send(phase, deliveries, tx.inTx()); failed != "" {
		for i, n := range events {
			failures = append(failures, fmt.Sprintf("%s(%d: %s)", names[i], n, failed))
		}
	}
	return failures
}

// prepare runs before the outermost commit.
func (m *modelBus) prepare(c *modelCtx) []string {
	txn := c.scope.txn
	for more := true; more; {
		more = false
		var seen []*modelItem
		for i := 0; i < len(txn.items); i++ {
			it := txn.items[i]
			if it.prepared || it.scope.dropped() {
				continue
			}
			it.prepared = true
			seen = append(seen, it)
			if failures := m.handlers(it, "BeforeCommit", c); len(failures) > 0 {
				return failures
			}
		}
		if failures := m.send("BeforeCommit", seen, c); len(failures) > 0 {
			return failures
		}
		more = slices.ContainsFunc(txn.items, func(it *modelItem) bool { return !it.prepared && !it.scope.dropped() })
	}
	txn.sealed = true
	return nil
}

// finish runs after the outermost scope has ended. It reports the failures of an event
// before it handles the next event.
func (m *modelBus) finish(txn *modelTxn, fail func(...string)) {
	var committed []*modelItem
	for _, it := range txn.items {
		if !it.scope.dropped() {
			committed = append(committed, it)
		}
	}
	outside := &modelCtx{}
	fail(m.send("AfterCommit", committed, outside)...)
	for _, it := range txn.items {
		switch {
		case it.callback != nil && !it.scope.dropped():
			c := it.context(outside)
			c.event, c.workflow = it.from.event, it.from.workflow
			it.callback(c)
		case it.scope.dropped():
			fail(m.handlers(it, "AfterRollback", outside)...)
		default:
			fail(m.handlers(it, "AfterCommit", outside)...)
		}
	}
}

func (m *modelBus) onCommit(c *modelCtx, fn func(*modelCtx)) string {
	switch {
	case c.scope == nil:
		fn(c)
	case c.depth >= fuzzMaxDepth:
		return "too deep"
	case !c.scope.open():
		return "done"
	default:
		c.scope.txn.items = append(c.scope.txn.items, &modelItem{scope: c.scope.txn.innermost(), from: c, callback: fn})
	}
	return ""
}

func (m *modelBus) scope(c *modelCtx, how string, fn func(*modelCtx) string) string {
	db := dbHandles
	if strings.Contains(how, "InTx") {
		db = int(how[len(how)-1] - 'a')
	}
	parent := c.enclosing(db)
	finished := c.scope != nil && !c.scope.open() || parent != nil && !parent.open()
	if finished && how != "by hand" {
		return "done"
	}
	if finished {
		parent = nil
	}
	whole := begin(db, parent)
	if finished {
		whole.end("rolled back")
	}
	s := whole // the attempt
	attempt := func() string {
		if how != "by hand" {
			s = begin(db, whole)
		}
		inside := c.within(s)
		if db == dbHandles {
			m.handles++
			inside.handle = m.handles
		}
		failed := fn(inside)
		if failed == "" && finished {
			return "done"
		}
		if failed == "" && whole.parent == nil {
			failed = join(m.prepare(inside))
		}
		return failed
	}
	retry := func() string {
		s.end("rolled back")
		if whole.parent == nil {
			whole.txn.sealed = false
		}
		return attempt()
	}

	var failed string
	switch how {
	case "plain", "by hand", "swallow":
		failed = attempt()
	case "failing commit":
		if failed = attempt(); failed == "" {
			failed = "commit failed"
		}
	case "retry":
		if failed = attempt(); failed != "" && failed != "panic" {
			failed = retry()
		}
	case "twice":
		if failed = attempt(); failed != "panic" {
			failed = retry()
		}
	case "recover":
		if failed = attempt(); failed == "panic" {
			failed = "recovered"
		}
	case "never":
		failed = "no body"
	case "InTx a", "InTx b":
		failed = m.inTx(c, db, func(inTx *modelCtx) string { c = inTx; return attempt() })
	default: // a TxFunc made of InTx
		made := begin(db, whole)
		failed = m.inTx(c, db, func(inTx *modelCtx) string {
			c = inTx.within(begin(db, made))
			return attempt()
		})
		if failed == "" {
			made.end("committed")
		} else {
			made.end("rolled back")
		}
	}

	if whole.inProgress() {
		if failed == "" {
			whole.end("committed")
		} else {
			whole.end("rolled back")
		}
		if whole.parent == nil {
			var returned []string
			m.finish(whole.txn, func(failures ...string) {
				if how == "by hand" && failed == "" {
					returned = append(returned, failures...)
				} else {
					m.run.reports = append(m.run.reports, failures...)
				}
			})
			if len(returned) > 0 {
				return join(returned)
			}
		}
	}
	return failed
}

// enclosing returns the innermost scope of a transaction of db that c is in, or nil.
func (c *modelCtx) enclosing(db int) *modelScope {
	for _, s := range slices.Backward(c.scopes) {
		if s.txn.db == db {
			return s
		}
	}
	return nil
}

// inTx runs body in a new transaction of db, or in a savepoint of the one that c is in.
func (m *modelBus) inTx(c *modelCtx, db int, body func(*modelCtx) string) string {
	nested := c.dbs[db].number != 0
	begin, commit, rollback := "BEGIN", "COMMIT", "ROLLBACK"
	if nested {
		begin, commit, rollback = "SAVEPOINT", "RELEASE", "ROLLBACK TO"
	}
	if failed := m.statement(db, begin); failed != "" {
		return failed
	}
	inside := *c
	if !nested {
		m.txs++
		inside.dbs[db] = modelTx{m.txs, new(string)}
	}
	failed := body(&inside)
	if failed == "" && !nested {
		failed = *inside.dbs[db].doomed
	}
	if failed == "" {
		if failed = m.statement(db, commit); failed == "" {
			return ""
		}
		if commit == "COMMIT" {
			return failed // which ends the transaction
		}
	}
	broken := m.statement(db, rollback)
	if nested {
		if broken == "" {
			_ = m.statement(db, commit)
		} else {
			*inside.dbs[db].doomed = broken
		}
	}
	if failed != "panic" && broken != "" {
		failed += " " + broken
	}
	return failed
}
