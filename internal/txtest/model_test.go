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
	dbs      []modelDB   // of the transactions of InTx around, innermost last
	scopes   []*modelScope
	handle   int // what TxFrom finds, 0: nothing
	tx       int // the same for *sql.Tx
	depth    int
	event    int // being handled, 0: none
	workflow int // the event that it started with, 0: none
}

type modelDB struct {
	db, tx int
	scope  int     // index of the scope right inside
	doomed *string // why it cannot commit
}

type modelScope struct {
	txn    *modelTxn
	parent *modelScope
	state  string // "open", "committed" or "rolled back"
}

type modelTxn struct {
	items    []*modelItem
	sealed   bool
	implicit bool
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

func (s *modelScope) open() bool {
	for ; s != nil; s = s.parent {
		if s.state != "open" || s.parent == nil && s.txn.sealed {
			return false
		}
	}
	return true
}

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

// of returns the context of what handles it.
func (it *modelItem) context(tx *modelCtx) *modelCtx {
	return &modelCtx{
		scope: tx.scope, dbs: tx.dbs, scopes: tx.scopes, handle: tx.handle, tx: tx.tx,
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
	s := &modelScope{txn: &modelTxn{implicit: true}, state: "open"}
	inside := c.within(s)
	failures := m.enqueue(inside, it)
	if len(failures) == 0 {
		failures = m.prepare(inside)
	}
	s.state = "committed"
	if len(failures) > 0 {
		s.state = "rolled back"
	}
	m.finish(s.txn, func(f ...string) { failures = append(failures, f...) })
	return join(failures)
}

func join(failures []string) string { return strings.Join(failures, " ") }

func (m *modelBus) enqueue(c *modelCtx, it *modelItem) []string {
	it.scope = c.scope
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
		failed := m.run.handle(c, s.id, it.n, fmt.Sprintf("%s handle=%d tx=%d cause=%d workflow=%d", phase, c.handle, c.tx, it.from.event, it.workflow))
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
	if failed := m.run.send(phase, deliveries, fmt.Sprintf("handle=%d tx=%d", tx.handle, tx.tx)); failed != "" {
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
		c.scope.txn.items = append(c.scope.txn.items, &modelItem{scope: c.scope, from: c, callback: fn})
	}
	return ""
}

func (m *modelBus) scope(c *modelCtx, how string, fn func(*modelCtx) string) string {
	finished := c.scope != nil && !c.scope.open()
	if finished && how != "by hand" {
		return "done"
	}
	s := &modelScope{state: "open"}
	if c.scope != nil && !c.scope.txn.implicit && !finished {
		s.parent = c.scope
	}
	db := -1
	if strings.Contains(how, "InTx") {
		db = int(how[len(how)-1] - 'a')
	}
	if db >= 0 && !strings.HasPrefix(how, "over") {
		c, s.parent = m.enclosing(c, db)
	}
	if s.parent == nil {
		s.txn = &modelTxn{}
	} else {
		s.txn = s.parent.txn
	}
	if finished {
		s.state = "rolled back"
	}
	attempt := func() string {
		inside := c.within(s)
		if db < 0 {
			m.handles++
			inside.handle = m.handles
		}
		failed := fn(inside)
		if failed == "" && finished {
			return "done"
		}
		if failed == "" && s.parent == nil {
			failed = join(m.prepare(inside))
		}
		return failed
	}
	retry := func() string {
		s.state = "rolled back"
		s = &modelScope{txn: s.txn, parent: s.parent, state: "open"}
		if s.parent == nil {
			s.txn.sealed = false
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
		failed = m.inTx(c, s.parent != nil, attempt)
	default: // a TxFunc made of InTx
		whole := s
		var parent *modelScope
		c, parent = m.enclosing(c, db)
		nested := parent != nil
		if !nested {
			parent = whole
		}
		made := &modelScope{txn: parent.txn, parent: parent, state: "open"}
		failed = m.inTx(c, nested, func() string {
			inner := &modelScope{txn: whole.txn, parent: whole, state: "open"}
			if !nested {
				inner.parent = made
			}
			inside := c.within(made).within(inner)
			failed := fn(inside)
			if failed == "" && whole.parent == nil {
				failed = join(m.prepare(inside))
			}
			return failed
		})
		made.state = "committed"
		if failed != "" {
			made.state = "rolled back"
		}
	}

	if s.state == "open" {
		s.state = "committed"
		if failed != "" {
			s.state = "rolled back"
		}
		if s.parent == nil {
			var returned []string
			m.finish(s.txn, func(failures ...string) {
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

// enclosing returns the scope of a transaction of db around c, if any, and a
// context for one inside of it, or for a new one.
func (m *modelBus) enclosing(c *modelCtx, db int) (*modelCtx, *modelScope) {
	inside := *c
	for _, known := range slices.Backward(c.dbs) {
		if known.db != db {
			continue
		}
		inside.tx = known.tx
		inside.dbs = append(slices.Clone(c.dbs), modelDB{db, known.tx, len(c.scopes), known.doomed})
		txn := c.scopes[known.scope].txn
		for _, s := range slices.Backward(c.scopes) {
			if s.txn == txn {
				return &inside, s
			}
		}
	}
	// The number is taken when the transaction begins, see inTx.
	inside.tx = m.txs + 1
	inside.dbs = append(slices.Clone(c.dbs), modelDB{db, m.txs + 1, len(c.scopes), new(string)})
	return &inside, nil
}

// inTx runs body in the innermost transaction of c, which is new, or in a
// savepoint there.
func (m *modelBus) inTx(c *modelCtx, nested bool, body func() string) string {
	tx := c.dbs[len(c.dbs)-1]
	begin, commit, rollback := "BEGIN", "COMMIT", "ROLLBACK"
	if nested {
		begin, commit, rollback = "SAVEPOINT", "RELEASE", "ROLLBACK TO"
	}
	if failed := m.statement(tx.db, begin); failed != "" {
		return failed
	}
	if !nested {
		m.txs++
	}
	failed := body()
	if failed == "" && !nested {
		failed = *tx.doomed
	}
	if failed == "" {
		if failed = m.statement(tx.db, commit); failed == "" {
			return ""
		}
		if commit == "COMMIT" {
			return failed // which ends the transaction
		}
	}
	broken := m.statement(tx.db, rollback)
	if nested {
		if broken == "" {
			_ = m.statement(tx.db, commit)
		} else {
			*tx.doomed = broken
		}
	}
	if failed != "panic" && broken != "" {
		failed += " " + broken
	}
	return failed
}
