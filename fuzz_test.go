package tidings_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/fakedb"
)

// FuzzInterleavings runs programs of subscribing, unsubscribing, publishing
// and nested transactions that fail here and there, against the bus and
// against a model of it. Both must call the same handlers with the same
// events in the same order, send the same through transports, issue the same
// statements, return the same errors and report the same failures.
func FuzzInterleavings(f *testing.F) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 0))
		program := make([]byte, 20+random.IntN(180))
		for i := range program {
			program[i] = byte(random.Uint32())
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		program := decodeFuzz(data)

		model := &fuzzRun[*modelCtx]{program: program}
		m := &modelBus{run: model}
		model.start(m, &modelCtx{})

		actual := &fuzzRun[context.Context]{program: program}
		ctx := context.Background()
		if program.cancellable {
			ctx = t.Context()
		}
		actual.start(newActualBus(t, actual), ctx)

		requireSame(t, program, model.trace, actual.trace)
		requireSame(t, program, model.reports, actual.reports)
	})
}

// requireSame shows where the bus went another way than the model.
func requireSame(t *testing.T, program *fuzzProgram, model, actual []string) {
	t.Helper()
	for i := range max(len(model), len(actual)) {
		if i < len(model) && i < len(actual) && model[i] == actual[i] {
			continue
		}
		from := max(0, i-20)
		cut := func(trace []string) string { return strings.Join(trace[from:min(len(trace), i+3)], "\n\t") }
		t.Fatalf("%s\nmodel:\n\t%s\nbus:\n\t%s", program, cut(model), cut(actual))
	}
}

// A fuzzProgram is what a fuzz input says.
type fuzzProgram struct {
	handlers    []*fuzzHandler // subscribed first
	ops         []fuzzOp
	sendFail    int  // every so many Sends fail; 0: none does
	cancellable bool // which nobody does
}

type fuzzHandler struct {
	on   string // "A", "B", "C" or "any"
	how  string // a Phase, or the phase of a transport
	once bool
	ops  []fuzzOp
	end  string
}

type fuzzOp struct {
	kind    string
	arg     int
	how     string
	handler *fuzzHandler
	ops     []fuzzOp
	end     string
}

var (
	fuzzOps = []string{
		"publish", "publish", "publish", "publish", "publish", "scope", "scope", "scope", "scope",
		"subscribe", "unsubscribe", "on commit", "keep", "under kept", "break",
	}
	fuzzPublishes = []string{"A", "A", "B", "C", "boxed A", "boxed B", "boxed C"}
	fuzzScopes    = []string{
		"plain", "plain", "by hand", "InTx a", "InTx a", "InTx b", "over InTx a", "over InTx b", "retry", "twice",
		"failing commit", "swallow", "recover", "never",
	}
	fuzzEnds       = []string{"ok", "ok", "ok", "fail", "panic", "propagate", "fail at first"}
	fuzzPhases     = []string{"InTransaction", "BeforeCommit", "AfterCommit", "AfterRollback", "via InTransaction", "via BeforeCommit", "via AfterCommit"}
	fuzzStatements = []string{"BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK TO", "ROLLBACK", "COMMIT"}
)

const (
	fuzzMaxSteps = 300
	fuzzMaxSubs  = 12
	fuzzMaxDepth = 5
)

type fuzzDecoder struct{ data []byte }

func decodeFuzz(data []byte) *fuzzProgram {
	d := &fuzzDecoder{data}
	p := &fuzzProgram{sendFail: d.next(6), cancellable: d.next(2) == 1}
	for range 1 + d.next(6) {
		p.handlers = append(p.handlers, d.handler(2))
	}
	for len(d.data) > 0 && len(p.ops) < 20 {
		p.ops = append(p.ops, d.op(4))
	}
	return p
}

// next returns a number below n, and 0 at the end of the input.
func (d *fuzzDecoder) next(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % n
}

func (d *fuzzDecoder) one(of []string) string { return of[d.next(len(of))] }

func (d *fuzzDecoder) handler(depth int) *fuzzHandler {
	h := &fuzzHandler{on: d.one([]string{"A", "A", "B", "C", "any"}), how: d.one(fuzzPhases), end: d.one(fuzzEnds)}
	h.once = d.next(5) == 1 && !strings.HasPrefix(h.how, "via ")
	h.ops = d.ops(depth)
	return h
}

func (d *fuzzDecoder) ops(depth int) (ops []fuzzOp) {
	if depth == 0 {
		return nil
	}
	for range d.next(4) {
		ops = append(ops, d.op(depth-1))
	}
	return ops
}

func (d *fuzzDecoder) op(depth int) fuzzOp {
	op := fuzzOp{kind: d.one(fuzzOps)}
	switch op.kind {
	case "publish":
		op.how = d.one(fuzzPublishes)
	case "scope":
		op.how, op.end, op.ops = d.one(fuzzScopes), d.one(fuzzEnds), d.ops(depth)
	case "subscribe":
		op.handler = d.handler(min(depth, 1))
	case "unsubscribe":
		op.arg = d.next(fuzzMaxSubs)
	case "on commit":
		op.ops = d.ops(depth)
	case "under kept":
		op.arg, op.ops = d.next(8), d.ops(depth)
	case "break":
		op.arg, op.how = d.next(2), d.one(fuzzStatements)
	}
	return op
}

func (p *fuzzProgram) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sends fail: %d, cancellable: %v\n", p.sendFail, p.cancellable)
	for i, h := range p.handlers {
		fmt.Fprintf(&b, "h%d: %v", i, h)
	}
	writeFuzzOps(&b, "", p.ops)
	return b.String()
}

func (h *fuzzHandler) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "on %s %s once=%v, %s\n", h.on, h.how, h.once, h.end)
	writeFuzzOps(&b, "\t", h.ops)
	return b.String()
}

func writeFuzzOps(b *strings.Builder, indent string, ops []fuzzOp) {
	for _, op := range ops {
		fmt.Fprintf(b, "%s%s %s %d %s\n", indent, op.kind, op.how, op.arg, op.end)
		if op.handler != nil {
			fmt.Fprintf(b, "%s\t%v", indent, op.handler)
		}
		writeFuzzOps(b, indent+"\t", op.ops)
	}
}

// A fuzzBus is what a program runs against: the bus, or the model. C is its
// context. What fails is said in a string, "" for success.
type fuzzBus[C any] interface {
	subscribe(id int, h *fuzzHandler)
	unsubscribe(id int)
	publish(c C, how string, n int) string
	scope(c C, how string, fn func(C) string) string
	onCommit(c C, fn func(C)) string
	breakNext(db int, statement string)
	live() []int // the IDs of what is subscribed
}

// A fuzzRun interprets a program.
type fuzzRun[C any] struct {
	program  *fuzzProgram
	bus      fuzzBus[C]
	trace    []string // of all that is to be the same
	reports  []string // to the error handler
	kept     []C
	handlers []*fuzzHandler
	calls    []int // of each handler
	steps    int
	events   int
	sends    int
}

func (r *fuzzRun[C]) start(bus fuzzBus[C], c C) {
	r.bus = bus
	for _, h := range r.program.handlers {
		r.subscribe(h)
	}
	r.exec(c, r.program.ops)
	r.note("subscribed: %v", r.bus.live())
}

func (r *fuzzRun[C]) note(format string, args ...any) {
	r.trace = append(r.trace, fmt.Sprintf(format, args...))
}

func (r *fuzzRun[C]) subscribe(h *fuzzHandler) {
	if len(r.handlers) < fuzzMaxSubs {
		r.handlers, r.calls = append(r.handlers, h), append(r.calls, 0)
		r.bus.subscribe(len(r.handlers)-1, h)
	}
}

// exec runs ops and returns the last failure.
func (r *fuzzRun[C]) exec(c C, ops []fuzzOp) (failed string) {
	for _, op := range ops {
		if r.steps++; r.steps > fuzzMaxSteps {
			return failed
		}
		result := ""
		switch op.kind {
		case "publish":
			r.events++
			n := r.events
			r.note("publish %s %d", op.how, n)
			result = r.bus.publish(c, op.how, n)
			r.note("published %d: %s", n, result)
		case "scope":
			attempt := 0
			r.note("%s", op.how)
			result = r.bus.scope(c, op.how, func(c C) string {
				attempt++
				return r.end(r.exec(c, op.ops), op.end, attempt)
			})
			r.note("%s ended: %s", op.how, result)
		case "subscribe":
			r.subscribe(op.handler)
		case "unsubscribe":
			if op.arg < len(r.handlers) {
				r.bus.unsubscribe(op.arg)
			}
		case "on commit":
			result = r.bus.onCommit(c, func(c C) {
				r.note("callback")
				r.exec(c, op.ops)
			})
		case "keep":
			r.kept = append(r.kept, c)
		case "under kept":
			if op.arg < len(r.kept) {
				result = r.exec(r.kept[op.arg], op.ops)
			}
		case "break":
			r.bus.breakNext(op.arg, op.how)
		}
		if result != "" {
			failed = result
		}
	}
	return failed
}

func (r *fuzzRun[C]) end(failed, end string, attempt int) string {
	switch {
	case end == "propagate":
		return failed
	case end == "fail at first" && attempt > 1, end == "ok":
		return ""
	case end == "panic":
		return "panic"
	}
	return "fail"
}

// handle is the handler of that ID.
func (r *fuzzRun[C]) handle(c C, id, n int, context string) string {
	r.note("h%d handles %d %s", id, n, context)
	r.calls[id]++
	attempt := r.calls[id]
	return r.end(r.exec(c, r.handlers[id].ops), r.handlers[id].end, attempt)
}

// send is what transports do.
func (r *fuzzRun[C]) send(phase string, deliveries []string, context string) string {
	r.sends++
	r.note("send %s %s %s", phase, strings.Join(deliveries, ","), context)
	if r.program.sendFail > 1 && r.sends%r.program.sendFail == 0 {
		return "not sent"
	}
	return ""
}

// The model: what the documentation says, with plain slices, for one
// goroutine.

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

// handlers runs those of one phase.
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

// prepare is what happens before the outermost commit.
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

// finish is what happens after the outermost scope has ended. What failed
// with an event is said before the next one's turn.
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

// The bus itself.

type fuzzError string

func (e fuzzError) Error() string { return string(e) }

const (
	fuzzPanic  = fuzzError("panic")
	fuzzBroken = fuzzError("broken")
)

type fuzzHandle int

type actualBus struct {
	run        *fuzzRun[context.Context]
	bus        *tidings.EventBus
	subs       []*tidings.Subscription
	transports map[string]*fuzzTransport
	numbers    map[uuid.UUID]int // of events
	handles    fuzzHandle
	txs        map[*sql.Tx]int
	dbs        [2]*sql.DB
	broken     [2]map[string]bool
}

func newActualBus(t *testing.T, run *fuzzRun[context.Context]) *actualBus {
	b := &actualBus{run: run, numbers: map[uuid.UUID]int{}, txs: map[*sql.Tx]int{}, transports: map[string]*fuzzTransport{}}
	b.bus = tidings.New(tidings.WithMaxDepth(fuzzMaxDepth), tidings.WithErrorHandler(func(_ context.Context, err error) {
		run.reports = append(run.reports, describe(err))
	}))
	for i := range b.dbs {
		var log *fakedb.Log
		b.dbs[i], log = fakedb.Open(t)
		b.broken[i] = map[string]bool{}
		for _, s := range []string{"BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK TO", "ROLLBACK", "COMMIT"} {
			log.On(s, func() error {
				run.note("%s on %c", s, 'a'+i)
				if b.broken[i][s] {
					delete(b.broken[i], s)
					return fuzzBroken
				}
				return nil
			})
		}
	}
	for phase, name := range map[tidings.Phase]string{
		tidings.InTransaction: "InTransaction", tidings.BeforeCommit: "BeforeCommit", tidings.AfterCommit: "AfterCommit",
	} {
		b.transports["via "+name] = &fuzzTransport{b, phase}
	}
	return b
}

// describe says what failed in the model's words.
func describe(err error) string {
	if err == nil {
		return ""
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, err := range joined.Unwrap() {
			all = append(all, describe(err))
		}
		return join(all)
	}
	if failed := (*tidings.HandlerError)(nil); errors.As(err, &failed) {
		return fmt.Sprintf("%s(%d: %s)", failed.Handler, numberOf(failed.Event), describe(failed.Err))
	}
	var known fuzzError
	switch {
	case errors.As(err, &known):
		return string(known)
	case errors.Is(err, tidings.ErrTxDone):
		return "done"
	case errors.Is(err, tidings.ErrMaxDepth):
		return "too deep"
	case strings.Contains(err.Error(), "recovered a panic"):
		return "recovered"
	case strings.Contains(err.Error(), "without calling its body"):
		return "no body"
	}
	return "unexpected: " + err.Error()
}

// failure is the reverse of describe, for what handlers and fn return.
func failure(failed string) error {
	switch failed {
	case "":
		return nil
	case "panic":
		panic(fuzzPanic)
	}
	return fuzzError(failed)
}

func numberOf(e tidings.Event) int {
	switch e := e.(type) {
	case txEvent:
		return e.N
	case txOther:
		return e.N
	case txCart:
		return e.Items[0]
	}
	return -1
}

func (b *actualBus) subscribe(id int, h *fuzzHandler) {
	opts := []tidings.SubscribeOption{tidings.Named(fmt.Sprintf("h%d", id))}
	if h.once {
		opts = append(opts, tidings.Once())
	}
	if t, ok := b.transports[h.how]; ok {
		opts = append(opts, tidings.Via(t))
	}
	for _, phase := range allPhases {
		if phase.String() == h.how {
			opts = append(opts, phase)
		}
	}
	handle := func(ctx context.Context, e tidings.Event) error {
		n := numberOf(e)
		b.numbers[e.EventID()] = n
		if carried, ok := tidings.EventFrom(ctx); !ok || carried.EventID() != e.EventID() || numberOf(carried) != n {
			b.run.note("the context of %v carries %v", e, carried)
		}
		if cart, ok := e.(txCart); ok {
			cart.Items[0] = -1 // its own copy
		}
		return failure(b.run.handle(ctx, id, n, fmt.Sprintf("%s %s cause=%d workflow=%d",
			h.how, b.inTx(ctx), b.numbers[e.CausationID()], b.numbers[e.CorrelationID()])))
	}
	var sub *tidings.Subscription
	switch h.on {
	case "A":
		sub = tidings.Subscribe(b.bus, func(ctx context.Context, e txEvent) error { return handle(ctx, e) }, opts...)
	case "B":
		sub = tidings.Subscribe(b.bus, func(ctx context.Context, e txOther) error { return handle(ctx, e) }, opts...)
	case "C":
		sub = tidings.Subscribe(b.bus, func(ctx context.Context, e txCart) error { return handle(ctx, e) }, opts...)
	default:
		sub = tidings.Subscribe(b.bus, handle, opts...)
	}
	b.subs = append(b.subs, sub)
}

// inTx says which transactions ctx is in.
func (b *actualBus) inTx(ctx context.Context) string {
	handle, _ := tidings.TxFrom[fuzzHandle](ctx)
	tx, _ := tidings.TxFrom[*sql.Tx](ctx)
	return fmt.Sprintf("handle=%d tx=%d", handle, b.txs[tx])
}

func (b *actualBus) unsubscribe(id int) { b.subs[id].Unsubscribe() }

func (b *actualBus) live() (ids []int) {
	for _, info := range b.bus.Subscriptions() {
		var id int
		if _, err := fmt.Sscanf(info.Handler, "h%d", &id); err != nil {
			b.run.note("no name: %v", info)
		}
		ids = append(ids, id)
	}
	return ids
}

func (b *actualBus) breakNext(db int, statement string) { b.broken[db][statement] = true }

func (b *actualBus) publish(ctx context.Context, how string, n int) string {
	switch how {
	case "A":
		return describe(tidings.Publish(ctx, b.bus, txEvent{N: n}))
	case "B":
		return describe(tidings.Publish(ctx, b.bus, txOther{N: n}))
	case "C":
		return describe(tidings.Publish(ctx, b.bus, txCart{Items: []int{n}}))
	case "boxed A":
		return describe(tidings.Publish[tidings.Event](ctx, b.bus, txEvent{N: n}))
	case "boxed B":
		return describe(tidings.Publish[tidings.Event](ctx, b.bus, txOther{N: n}))
	}
	return describe(tidings.Publish[tidings.Event](ctx, b.bus, txCart{Items: []int{n}}))
}

func (b *actualBus) onCommit(ctx context.Context, fn func(context.Context)) string {
	return describe(tidings.OnCommit(ctx, func(ctx context.Context) error {
		fn(ctx)
		return nil
	}))
}

func (b *actualBus) scope(ctx context.Context, how string, fn func(context.Context) string) (result string) {
	defer func() {
		if p := recover(); p == fuzzPanic {
			result = "panic"
		} else if p != nil {
			panic(p)
		}
	}()
	switch how {
	case "by hand":
		return describe(b.byHand(ctx, fn))
	case "InTx a", "InTx b":
		return describe(b.runInTx(ctx, how, func(ctx context.Context) error { return failure(fn(ctx)) }))
	case "over InTx a", "over InTx b":
		return describe(tidings.Transact(ctx, func(ctx context.Context, body func(context.Context) error) error {
			return b.runInTx(ctx, how, body)
		}, func(ctx context.Context) error { return failure(fn(ctx)) }))
	}
	return describe(tidings.Transact(ctx, func(ctx context.Context, body func(context.Context) error) (err error) {
		attempt := func() error {
			b.handles++
			return body(tidings.WithTx(ctx, b.handles))
		}
		switch how {
		case "never":
			return nil
		case "failing commit":
			if err := attempt(); err != nil {
				return err
			}
			return fuzzError("commit failed")
		case "swallow":
			_ = attempt()
			return nil
		case "recover":
			defer func() { _ = recover() }()
		case "twice":
			_ = attempt()
		case "retry":
			if err := attempt(); err == nil {
				return nil
			}
		}
		return attempt()
	}, func(ctx context.Context) error { return failure(fn(ctx)) }))
}

func (b *actualBus) runInTx(ctx context.Context, how string, fn func(context.Context) error) error {
	return tidings.InTx(ctx, b.dbs[how[len(how)-1]-'a'], nil, func(ctx context.Context, tx *sql.Tx) error {
		if b.txs[tx] == 0 {
			b.txs[tx] = len(b.txs) + 1
		}
		return fn(ctx)
	})
}

func (b *actualBus) byHand(ctx context.Context, fn func(context.Context) string) error {
	ctx, hook := tidings.Begin(ctx)
	defer hook.Rollback(ctx)
	b.handles++
	ctx = tidings.WithTx(ctx, b.handles)
	if err := failure(fn(ctx)); err != nil {
		return err
	}
	if err := hook.Prepare(ctx); err != nil {
		return err
	}
	return hook.Commit(ctx)
}

// A fuzzTransport notes what is sent.
type fuzzTransport struct {
	bus   *actualBus
	phase tidings.Phase
}

func (t *fuzzTransport) Phase() tidings.Phase { return t.phase }

func (t *fuzzTransport) Handle(string, func(context.Context, tidings.Event) error) error { return nil }

func (t *fuzzTransport) Send(ctx context.Context, out []tidings.Outgoing) error {
	var deliveries []string
	for _, d := range out {
		deliveries = append(deliveries, fmt.Sprintf("%d to %s", numberOf(d.Event), strings.Join(d.Handlers, "+")))
	}
	return failure(t.bus.run.send(t.phase.String(), deliveries, t.bus.inTx(ctx)))
}
