package txtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
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

// requireSame shows where the bus and the model differ.
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

// A fuzzProgram is the program that a fuzz input stands for.
type fuzzProgram struct {
	handlers    []*fuzzHandler // subscribed first
	ops         []fuzzOp
	sendFail    int  // every so many Sends fail; 0: none does
	cancellable bool // its context can be cancelled, but never is
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

// A fuzzBus runs the steps of a program, on the bus or on the model. C is its type of
// context. Its methods return failures as a string, which is "" for success.
type fuzzBus[C any] interface {
	subscribe(id int, h *fuzzHandler)
	unsubscribe(id int)
	publish(c C, how string, n int) string
	scope(c C, how string, fn func(C) string) string
	onCommit(c C, fn func(C)) string
	breakNext(db int, statement string)
	live() []int // the IDs of the active subscriptions
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
