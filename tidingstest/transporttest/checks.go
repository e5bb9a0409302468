package transporttest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/tidingstest"
)

var errOnPurpose = errors.New("failing on purpose")

// want fails the subtest unless in has exactly these events, each as often as
// the transport may deliver it, and in this order if the transport keeps one.
func (in *inbox) want(events []tidings.Event) {
	in.rig.Helper()
	have := in.events()
	sorted := slices.Clone(have)
	if in.rig.features.Unordered {
		slices.SortStableFunc(sorted, func(a, b tidings.Event) int {
			return indexOf(events, a) - indexOf(events, b)
		})
	}
	if !slices.EqualFunc(events, sorted, func(a, b tidings.Event) bool { return reflect.DeepEqual(a, b) }) {
		in.rig.Errorf("%s: want\n%v\nhave\n%v", in.name, tidingstest.Events(events), have)
	}
}

func describe(event tidings.Event) string {
	return strings.TrimPrefix(tidingstest.Events{event}.String(), "\t1. ")
}

func indexOf(events []tidings.Event, event tidings.Event) int {
	return slices.IndexFunc(events, func(e tidings.Event) bool { return e.EventID() == event.EventID() })
}

// wantCalls fails the subtest unless the handler was called n times for each of
// its events, if the transport delivers exactly once.
func (in *inbox) wantCalls(n int) {
	in.rig.Helper()
	if in.rig.features.AtLeastOnce {
		return
	}
	for _, e := range in.events() {
		calls := 0
		for _, other := range in.all() {
			if other.EventID() == e.EventID() {
				calls++
			}
		}
		if calls != n {
			in.rig.Errorf("%s was called %d times, not %d, for %s", in.name, calls, n, describe(e))
		}
	}
}

// Header and payload arrive as they were published.
func checkIntact(r *rig) {
	var here tidings.Event // what a handler gets without the transport
	tidings.Subscribe(r.bus, func(_ context.Context, e Described) error {
		here = e
		return nil
	}, tidings.AfterCommit)
	in := handle(r, "there", func(ctx context.Context, e Described, _ int) error {
		if from, _ := tidings.EventFrom(ctx); !reflect.DeepEqual(from, e) {
			r.problem(fmt.Errorf("EventFrom gave the handler %v", tidingstest.Events{from}))
		}
		return nil
	})
	r.start()
	sent := Described{
		Number: 1<<62 + 1,
		Text:   "Zoë’s \"fish & chips\" <7>\n\\ 🐟",
		Amount: math.Pi,
		Urgent: true,
		Due:    time.Date(2026, 2, 28, 23, 59, 59, 123456789, time.UTC),
		Ref:    uuid.MustParse("0192f1a4-5cf3-7d3e-8a6b-3c1d2e4f5a6b"),
		Lines:  tidings.ListOf("one", "", "three"),
	}
	sent.Shipping.Street, sent.Shipping.Code = "Rue de l'Été 4", -1<<31
	r.must(r.publish(r.ctx, sent))
	in.await(1)
	in.want([]tidings.Event{here})
}

// Every handler of an event gets it, and no other handler does.
func checkEveryHandler(r *rig) {
	first := handle[Counted](r, "first", nil)
	other := handle[Described](r, "other", nil)
	second := handle[Counted](r, "second", nil)
	third := handle[Counted](r, "third", nil)
	r.start()
	sent := r.send(5)
	for _, in := range []*inbox{first, second, third} {
		in.await(len(sent))
		r.settle(in)
		in.want(sent)
		in.wantCalls(1)
	}
	other.want(nil)
}

func checkHandlerFails(r *rig) {
	checkFailure(r, func() error { return errOnPurpose })
}

func checkHandlerPanics(r *rig) {
	checkFailure(r, func() error { panic(errOnPurpose) })
}

// A failing handler does not affect the publisher, other handlers, or the next
// event. It is called again, unless the transport does not retry.
func checkFailure(r *rig, fail func() error) {
	r.tolerant = true
	flaky := handle(r, "flaky", func(_ context.Context, e Counted, attempt int) error {
		if attempt == 1 {
			return fail()
		}
		return nil
	})
	steady := handle[Counted](r, "steady", nil)
	r.start()
	sent := r.send(3)
	steady.await(len(sent))
	calls := 2
	if r.features.NoRetry {
		calls = 1
	}
	flaky.until(fmt.Sprintf("%d events, each %d times", len(sent), calls), func() bool {
		for _, e := range sent {
			if flaky.attempts[e.EventID()] < calls {
				return false
			}
		}
		return true
	})
	r.settle(steady, flaky)
	steady.want(sent)
	steady.wantCalls(1)
	flaky.wantCalls(calls)
	for _, e := range flaky.all() {
		if i := indexOf(sent, e); i < 0 || !reflect.DeepEqual(sent[i], e) {
			r.Errorf("the retry brought another event, %s", describe(e))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.failures {
		he := (*tidings.HandlerError)(nil)
		if !errors.As(err, &he) || he.Handler != flaky.name || !errors.Is(err, errOnPurpose) {
			r.Errorf("the bus reported what did not happen on purpose: %v", err)
		}
	}
}

// A handler is called as often as Attempts says, and Backoff is asked how long to wait.
func checkAttempts(r *rig) {
	r.tolerant = true
	var mu sync.Mutex
	asked := map[int]bool{} // the attempts that Backoff was asked about
	failing := handle(r, "failing", func(context.Context, Counted, int) error { return errOnPurpose },
		tidings.Attempts(2), tidings.Backoff(func(attempt int) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			asked[attempt] = true
			return time.Millisecond
		}))
	steady := handle[Counted](r, "steady", nil)
	r.start()
	sent := r.send(1)
	failing.until("it twice", func() bool { return failing.attempts[sent[0].EventID()] >= 2 })
	r.settle(steady, failing)
	failing.wantCalls(2)
	mu.Lock()
	defer mu.Unlock()
	if !asked[1] {
		r.Errorf("Backoff was not asked about attempt 1, but about %v", asked)
	}
}

// The context of a handler ends with its Timeout.
func checkTimeout(r *rig) {
	r.tolerant = true
	const timeout = time.Hour
	in := handle(r, "handler", func(ctx context.Context, _ Counted, _ int) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > timeout {
			r.problem(fmt.Errorf("the context of a handler with a Timeout of %v ends at %v", timeout, deadline))
		}
		return nil
	}, tidings.Timeout(timeout))
	r.start()
	r.send(1)
	in.await(1)
	r.settle(in)
}

// foreign is an option of another transport.
type foreign struct{}

func (foreign) String() string { return "transporttest.foreign" }

// A transport refuses options that are not its own.
func checkForeignOption(r *rig) {
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, foreign{}.String()) {
			r.Errorf("Subscribe with the option of another transport ended with %s", text)
		}
	}()
	handle[Counted](r, "handler", nil, tidings.TransportOption(foreign{}))
}

// A handler gets events in the order in which they were published.
func checkOrder(r *rig) {
	first := handle[Counted](r, "first", nil)
	second := handle[tidings.Event](r, "second", nil)
	r.start()
	sent := r.send(50)
	together := r.counted(50)
	r.must(r.inTx(r.ctx, func(ctx context.Context) error { return r.publish(ctx, together...) }))
	sent = append(sent, together...)
	for _, in := range []*inbox{first, second} {
		in.await(len(sent))
		r.settle(in)
		in.want(sent)
	}
}

// tidingstest.Events that a handler publishes belong to the workflow of its event, and name
// that as the cause, even if they go to the same handler.
func checkCausation(r *rig) {
	const last = 5
	answers := handle[Counted](r, "answers", nil)
	handle(r, "first", func(ctx context.Context, _ Described, _ int) error {
		return r.publish(ctx, Counted{Number: 1})
	})
	chain := handle(r, "chain", func(ctx context.Context, e Counted, _ int) error {
		if e.Number >= last {
			return nil
		}
		return r.publish(ctx, Counted{Number: e.Number + 1})
	})
	r.start()
	sent := tidings.Stamp(r.ctx, Described{})
	r.must(r.publish(r.ctx, sent))
	for _, in := range []*inbox{answers, chain} { // in any order, unless the transport keeps one
		in.until("all answers", func() bool {
			for n := int64(1); n <= last; n++ {
				if numbered(in.calls, n) == nil {
					return false
				}
			}
			return true
		})
	}
	for n := int64(1); n <= last; n++ {
		answer := numbered(answers.events(), n)
		cause := tidings.Event(sent)
		if n > 1 {
			cause = numbered(answers.events(), n-1)
		}
		switch {
		case answer == nil || cause == nil:
			r.Fatalf("answer %d or its cause is missing:\n%v", n, answers.events())
		case answer.CausationID() != cause.EventID() && !r.features.AtLeastOnce:
			r.Errorf("answer %d names %s as its cause, not %s", n, answer.CausationID(), describe(cause))
		case answer.CausationID() == uuid.Nil:
			r.Errorf("answer %d names no cause", n)
		case answer.CorrelationID() != r.workflow:
			r.Errorf("answer %d belongs to another workflow", n)
		}
	}
}

func numbered(events tidingstest.Events, number int64) tidings.Event {
	for _, e := range events {
		if a, ok := e.(Counted); ok && a.Number == number {
			return a
		}
	}
	return nil
}

// The publisher's transaction and cancellation do not reach the handler,
// and the publisher does not wait for the handler.
func checkContext(r *rig) {
	type transaction struct{ _ int }
	mine := &transaction{}
	gone := make(chan struct{})
	in := handle(r, "handler", func(ctx context.Context, _ Counted, _ int) error {
		r.wait("the publisher went on", gone)
		if tx, ok := tidings.TxFrom[*transaction](ctx, r); ok && tx == mine {
			r.problem(errors.New("the handler is in the publisher's transaction"))
		}
		if err := ctx.Err(); err != nil {
			r.problem(fmt.Errorf("the handler is cancelled with the publisher: %w", err))
		}
		return nil
	})
	r.start()
	sent := r.counted(2)
	ctx, cancel := context.WithCancel(r.ctx)
	r.must(r.publish(ctx, sent[0]))
	r.must(r.inTx(ctx, func(ctx context.Context) error {
		return r.publish(tidings.WithTx(ctx, r, mine), sent[1])
	}))
	cancel()
	close(gone)
	in.await(2)
	r.settle(in)
	in.want(sent)
}

// A handler of an interface gets every event that implements it, as itself.
func checkInterfaces(r *rig) {
	everything := handle[tidings.Event](r, "everything", nil)
	family := handle[interface {
		tidings.Event
		ofSuite()
	}](r, "family", nil)
	none := handle[interface {
		tidings.Event
		ofNoSuite()
	}](r, "none", nil)
	r.start()
	events := append(r.counted(1), tidings.Stamp(r.ctx, Described{Lines: tidings.ListOf("one")}))
	r.must(r.publish(r.ctx, events...))
	for _, in := range []*inbox{everything, family} {
		in.await(len(events))
		r.settle(in)
		in.want(events)
	}
	none.want(nil)
}

// After Unsubscribe a handler gets nothing, and the others continue.
func checkUnsubscribe(r *rig) {
	leaving := handle[Counted](r, "leaving", nil)
	staying := handle[Counted](r, "staying", nil)
	r.start()
	sent := r.send(1)
	leaving.await(1)
	staying.await(1)
	r.settle(leaving, staying)
	leaving.sub.Unsubscribe()
	sent = append(sent, r.send(3)...)
	staying.await(len(sent))
	r.settle(staying)
	staying.want(sent)
	leaving.want(sent[:1])
}

// A name can be subscribed again; the new handler gets the events.
func checkSubscribeAgain(r *rig) {
	before := handle[Counted](r, "handler", nil)
	before.sub.Unsubscribe()
	after := handle[Counted](r, "handler", nil)
	r.start()
	sent := r.send(3)
	after.await(len(sent))
	r.settle(after)
	after.want(sent)
	after.wantCalls(1)
	before.want(nil)
}

// Many concurrent publishers lose no event and double none.
func checkParallel(r *rig) {
	first := handle[Counted](r, "first", nil)
	second := handle[Counted](r, "second", nil)
	r.start()
	const publishers, each = 8, 25
	sent := r.counted(publishers * each)
	var wg sync.WaitGroup
	for events := range slices.Chunk(sent, each) {
		wg.Go(func() {
			var err error
			for few := range slices.Chunk(events, 5) {
				err = errors.Join(err, r.publish(r.ctx, few[:2]...))
				err = errors.Join(err, r.inTx(r.ctx, func(ctx context.Context) error { return r.publish(ctx, few[2:]...) }))
			}
			if err != nil {
				r.Error(err)
			}
		})
	}
	wg.Wait()
	for _, in := range []*inbox{first, second} {
		in.await(len(sent))
		r.settle(in)
		// Only the events of each publisher have an order.
		if missing := without(sent, in.events()); len(missing) > 0 {
			r.Errorf("%s did not get\n%v", in.name, missing)
		}
		in.wantCalls(1)
		if r.features.Unordered {
			continue
		}
		for events := range slices.Chunk(sent, each) {
			have := slices.DeleteFunc(in.events(), func(e tidings.Event) bool { return indexOf(events, e) < 0 })
			if !slices.EqualFunc(events, have, func(a, b tidings.Event) bool { return a.EventID() == b.EventID() }) {
				r.Errorf("%s: the events of one publisher changed order: want\n%v\nhave\n%v", in.name, tidingstest.Events(events), have)
			}
		}
	}
}

func without(events []tidings.Event, others []tidings.Event) tidingstest.Events {
	return slices.DeleteFunc(slices.Clone(events), func(e tidings.Event) bool { return indexOf(others, e) >= 0 })
}

// Close of the bus refuses new events, and waits for those sent before.
func checkClose(r *rig) {
	closing := make(chan struct{})
	in := handle(r, "handler", func(ctx context.Context, _ Counted, _ int) error {
		r.wait("Close was called", closing)
		return nil
	})
	r.start()
	sent := r.send(50)
	in.until("an event", func() bool { return len(in.calls) > 0 })
	impatient, cancel := context.WithCancel(r.ctx)
	cancel()
	if err := r.bus.Close(impatient); !errors.Is(err, context.Canceled) {
		r.Errorf("Close returned %v while a handler ran", err)
	}
	if err := r.publish(r.ctx, r.counted(1)...); !errors.Is(err, tidings.ErrClosed) {
		r.Errorf("Publish after Close returned %v, not ErrClosed", err)
	}
	close(closing)
	ctx, cancel := context.WithTimeout(r.ctx, r.features.Patience)
	defer cancel()
	if err := r.bus.Close(ctx); err != nil {
		r.Fatalf("Close: %v", err)
	}
	in.want(sent)
}
