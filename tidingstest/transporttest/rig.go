package transporttest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

// A rig is a bus with the transport under test, for one subtest.
type rig struct {
	*testing.T
	name     string
	features Features
	subject  Subject
	bus      *tidings.EventBus
	ctx      context.Context // of the workflow, which distinguishes its events from leftovers
	workflow uuid.UUID
	numbers  int64

	mu       sync.Mutex
	problems []error // what fails the subtest at its end, from any goroutine
	tolerant bool    // failures of handlers are expected
	failures []error // the failures that the bus reported
}

func newRig(t *testing.T, name string, features Features, open func(*testing.T) Subject) *rig {
	r := &rig{T: t, name: name, features: features, workflow: uuid.Must(uuid.NewV7())}
	r.ctx = tidings.WithCorrelationID(t.Context(), r.workflow)
	// The transport is opened after the bus, so it ends before the bus, and nothing
	// runs when the problems are read.
	t.Cleanup(r.end)
	r.bus = tidingstest.NewBus(t, tidings.WithErrorHandler(r.reported))
	r.subject = open(t)
	if r.subject.Via == nil {
		t.Fatal("transporttest: Test: Subject.Via is nil")
	}
	return r
}

// reported gets the failures that the bus reports.
func (r *rig) reported(_ context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tolerant {
		r.failures = append(r.failures, err)
	} else {
		r.problems = append(r.problems, err)
	}
}

// problem fails the subtest, and may be called in any goroutine.
func (r *rig) problem(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, err)
}

func (r *rig) end() {
	for _, err := range r.problems {
		stack := ""
		if pe := (*tidings.PanicError)(nil); errors.As(err, &pe) {
			stack = "\n" + string(pe.Stack)
		}
		r.Errorf("%v%s", err, stack)
	}
}

// start begins the actual test. No handler is subscribed after it.
func (r *rig) start() {
	r.Helper()
	if r.subject.Start == nil {
		return
	}
	if err := r.subject.Start(r.Context()); err != nil {
		r.Fatalf("Subject.Start: %v", err)
	}
}

// inTx runs fn in a transaction, or in a savepoint of the one that ctx is in.
func (r *rig) inTx(ctx context.Context, fn func(context.Context) error) error {
	if r.subject.InTx != nil {
		return r.subject.InTx(ctx, fn)
	}
	return tidings.Transact(ctx, r.transactor(func(ctx context.Context, body func(context.Context) error) error { return body(ctx) }), fn)
}

// transactor returns the transactor for transactions without a database.
func (r *rig) transactor(run tidings.TxFunc) tidings.Transactor {
	return tidings.Transactor{DB: r, Run: run}
}

// inTxUntil is inTx with a last step, after everything that precedes the
// commit; if last fails, the commit has failed.
func (r *rig) inTxUntil(ctx context.Context, fn func(context.Context) error, last func() error) error {
	run := func(ctx context.Context, body func(context.Context) error) error {
		if err := body(ctx); err != nil {
			return err
		}
		return last()
	}
	if r.subject.InTx == nil {
		return tidings.Transact(ctx, r.transactor(run), fn)
	}
	return tidings.Transact(ctx, r.transactor(func(ctx context.Context, body func(context.Context) error) error {
		return r.subject.InTx(ctx, func(ctx context.Context) error { return run(ctx, body) })
	}), fn)
}

// publish publishes events, one after the other.
func (r *rig) publish(ctx context.Context, events ...tidings.Event) error {
	for _, event := range events {
		publish := func(ctx context.Context) error { return tidings.Publish(ctx, r.bus, event) }
		do := publish
		if _, inside := tidings.TxDatabase(ctx); r.features.NeedsTx && !inside {
			do = func(ctx context.Context) error { return r.inTx(ctx, publish) }
		}
		if err := do(ctx); err != nil {
			return fmt.Errorf("publish %T: %w", event, err)
		}
	}
	return nil
}

// counted returns n events, stamped, with consecutive numbers.
func (r *rig) counted(n int) []tidings.Event {
	events := make([]tidings.Event, n)
	for i := range events {
		r.numbers++
		events[i] = tidings.Stamp(r.ctx, Counted{Number: r.numbers})
	}
	return events
}

// send publishes n events, and returns them.
func (r *rig) send(n int) []tidings.Event {
	r.Helper()
	events := r.counted(n)
	r.must(r.publish(r.ctx, events...))
	return events
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// settle waits until the inboxes have the events sent to them before. A
// transport without order does not show that: there it waits for some later
// events.
func (r *rig) settle(inboxes ...*inbox) {
	r.Helper()
	events := make([]tidings.Event, 10)
	for i := range events {
		events[i] = tidings.Stamp(r.ctx, Counted{Number: settling})
	}
	r.must(r.publish(r.ctx, events...))
	for _, in := range inboxes {
		in.until("what was sent to settle", func() bool {
			for _, e := range events {
				if !in.settled[e.EventID()] {
					return false
				}
			}
			return true
		})
	}
}

// settling is the number of events that checks ignore.
const settling = -1

// wait waits for an event in the test, and fails the subtest if that takes too
// long. Handlers call it.
func (r *rig) wait(what string, happened <-chan struct{}) {
	timer := time.NewTimer(r.features.Patience)
	defer timer.Stop()
	select {
	case <-happened:
	case <-timer.C:
		r.problem(fmt.Errorf("a handler waited for more than %v until %s", r.features.Patience, what))
	}
}

// An inbox holds the events that reached one handler.
type inbox struct {
	rig  *rig
	name string
	sub  *tidings.Subscription

	mu       sync.Mutex
	calls    tidingstest.Events // every call of the handler
	settled  map[uuid.UUID]bool
	changed  chan struct{} // closed at the next call
	attempts map[uuid.UUID]int
}

// handle subscribes a handler through the transport, with opts after those of the
// subject. handler is called for all but settling events, with the number of the
// attempt, from 1.
func handle[E tidings.Event](r *rig, name string, handler func(ctx context.Context, event E, attempt int) error, opts ...tidings.SubscribeOption) *inbox {
	in := &inbox{
		rig:      r,
		name:     "transporttest." + strings.ReplaceAll(r.name, " ", "_") + "." + name,
		settled:  map[uuid.UUID]bool{},
		changed:  make(chan struct{}),
		attempts: map[uuid.UUID]int{},
	}
	in.sub = tidings.Subscribe(r.bus, func(ctx context.Context, event E) error {
		if event.CorrelationID() != r.workflow {
			return nil
		}
		attempt := in.add(event)
		if handler == nil || attempt == 0 {
			return nil
		}
		return handler(ctx, event, attempt)
	}, append([]tidings.SubscribeOption{tidings.Named(in.name), r.subject.Via}, opts...)...)
	return in
}

// add records a call of the handler, and returns how many there were with this
// event; 0 if the event is for settling.
func (in *inbox) add(event tidings.Event) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	close(in.changed)
	in.changed = make(chan struct{})
	if c, ok := event.(Counted); ok && c.Number == settling {
		in.settled[event.EventID()] = true
		return 0
	}
	in.calls = append(in.calls, event)
	in.attempts[event.EventID()]++
	return in.attempts[event.EventID()]
}

// until waits until ok, which reads the inbox, returns true.
func (in *inbox) until(what string, ok func() bool) {
	in.rig.Helper()
	timer := time.NewTimer(in.rig.features.Patience)
	defer timer.Stop()
	for {
		in.mu.Lock()
		done, changed := ok(), in.changed
		in.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			in.rig.Fatalf("%s did not get %s within %v; it got\n%v", in.name, what, in.rig.features.Patience, in.all())
		}
	}
}

// await waits for n events, and returns all received so far, each once, in
// order of their first arrival.
func (in *inbox) await(n int) tidingstest.Events {
	in.rig.Helper()
	in.until(fmt.Sprintf("%d events", n), func() bool { return len(in.attempts) >= n })
	return in.events()
}

// all returns the events with which the handler was called.
func (in *inbox) all() tidingstest.Events {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append(tidingstest.Events(nil), in.calls...)
}

// events is all, with each event once.
func (in *inbox) events() tidingstest.Events {
	var events tidingstest.Events
	seen := map[uuid.UUID]bool{}
	for _, e := range in.all() {
		if !seen[e.EventID()] {
			seen[e.EventID()] = true
			events = append(events, e)
		}
	}
	return events
}
