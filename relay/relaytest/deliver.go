package relaytest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/relay"
)

// Each handler gets every event, in one of two processes.
func checkFanOut(r *rig) {
	a, b := r.open(), r.open()
	one, two := r.tally(), r.tally()
	for _, p := range []*process{a, b} {
		p.handle("one", one.handle)
		p.handle("two", two.handle)
		p.start()
	}
	a.send(1, 20)
	b.send(21, 40)
	one.await(1, 40)
	two.await(1, 40)
	a.settle(one, two)
	one.wantEach(1, 40)
	two.wantEach(1, 40)
	a.wantNoFailures()
	b.wantNoFailures()
}

// Events sent before Start are kept, even by a process without Start.
func checkBeforeStart(r *rig) {
	p, got := r.open(), r.tally()
	p.handle("patient", got.handle)
	p.send(1, 3)
	require.Empty(r, got.numbers())
	p.start()
	got.wantEach(1, 3)
}

// A handler may be subscribed to a relay that has started.
func checkAfterStart(r *rig) {
	p, early, late := r.started(), r.tally(), r.tally()
	p.handle("early", early.handle)
	p.send(1, 3)
	early.await(1, 3)
	p.handle("late", late.handle)
	p.send(4, 6)
	late.await(4, 6)
	p.settle(early, late)
	early.wantEach(1, 6)
	late.wantNew(4, 6)
}

// An unsubscribed handler leaves its events to the other process, and does not
// affect other handlers.
func checkUnsubscribe(r *rig) {
	a, b, got, stays := r.open(), r.started(), r.tally(), r.tally()
	var leaving *tidings.Subscription
	some := newSignal()
	leaving = a.handle("leaving", func(ctx context.Context, e counted) error {
		some.give()
		return got.handle(ctx, e)
	})
	a.handle("stays", stays.handle)
	a.start()
	a.send(1, 10)
	some.await(r, "a call of the handler that is to leave")
	leaving.Unsubscribe()
	b.handle("leaving", got.handle)
	a.send(11, 12) // to the one that stays; the other has no handler in this process
	b.send(13, 30)
	for _, part := range [][2]int64{{1, 10}, {13, 30}} {
		got.awaitFor(r.Redelivery+r.Features.Patience, part[0], part[1])
	}
	stays.wantEach(1, 30)
	got.wantEach(1, 30)
	a.wantNoFailures()
	b.wantNoFailures()
}

// Forward sends once, to handlers here and elsewhere.
func checkForward(r *rig) {
	a, b := r.open(), r.open()
	local, local2, there, plain := r.tally(), r.tally(), r.tally(), r.tally()
	a.forward()
	a.handle("local", local.handle)
	a.handle("local2", local2.handle)
	relay.Receive[counted](b.bus, b.Relay, "there", quick)
	tidings.Subscribe(b.bus, there.handle)
	tidings.Subscribe(b.bus, plain.handle)
	for _, p := range []*process{b, a} {
		p.start()
	}
	a.send(1, 10)
	for _, c := range []*tally{local, local2, there, plain} {
		c.await(1, 10)
	}
	a.settle(local, local2, there, plain)
	for _, c := range []*tally{local, local2, there, plain} {
		c.wantEach(1, 10)
	}
}

// WithTransport sends events without a handler here, and events with one.
func checkDefaultTransport(r *rig) {
	a, b := r.open(), r.open()
	a.bus = tidings.New(tidings.WithTransport(a.Relay), tidings.WithErrorHandler(a.unexpected))
	b.bus = tidings.New(tidings.WithTransport(b.Relay), tidings.WithErrorHandler(b.unexpected))
	here, there := r.tally(), r.tally()
	tidings.Subscribe(b.bus, there.handle, tidings.Named("there"))
	b.start()
	a.send(1, 5)
	there.await(1, 5)
	tidings.Subscribe(a.bus, here.handle, tidings.Named("here"))
	a.start()
	a.send(6, 10)
	there.await(6, 10)
	here.await(6, 10)
	a.settle(here, there)
	there.wantEach(1, 10)
	here.wantNew(6, 10)
}

// Handlers with their own settings get an event that is sent once.
func checkSettings(r *rig) {
	p := r.open()
	one, two, three := r.tally(), r.tally(), r.tally()
	tidings.Subscribe(p.bus, one.handle, tidings.Named("one"), tidings.Via(p.Relay))
	p.handle("two", two.handle)
	p.handle("three", three.handle, relay.Workers(2), tidings.Attempts(2))
	p.start()
	p.send(1, 10)
	p.settle(one, two, three)
	for _, c := range []*tally{one, two, three} {
		c.wantEach(1, 10)
	}
}

func checkManyHandlers(r *rig) {
	p := r.open()
	var tallies []*tally
	for i := range 10 {
		c := r.tally()
		p.handle(fmt.Sprintf("handler.%d", i), c.handle)
		tallies = append(tallies, c)
	}
	p.start()
	p.send(1, 5)
	for _, c := range tallies {
		c.wantEach(1, 5)
	}
}

// Workers run at the same time.
func checkWorkers(r *rig) {
	const workers = 4
	p, got := r.open(), r.tally()
	all, mu, running := newSignal(), sync.Mutex{}, 0
	p.handle("parallel", func(ctx context.Context, e counted) error {
		mu.Lock()
		if running++; running == workers {
			all.give()
		}
		mu.Unlock()
		select {
		case <-all.c:
		case <-ctx.Done():
		}
		return got.handle(ctx, e)
	}, relay.Workers(workers))
	p.start()
	p.send(1, 2*workers)
	all.await(r, "all workers at once")
	got.wantEach(1, 2*workers)
}

// Different names have different topics and groups, even unusual ones.
func checkNames(r *rig) {
	p := r.open()
	topics := map[string]string{}
	names := []string{"a.b", "a-b", "a_b", "a:b", "a/b", "ab", "A.b", "a..b", ".a.b", "a.b.", "a", "b", "a.b.retry", "a-2eb", "a_2eb", "a%2Eb"[:1] + "2eb"}
	for _, name := range append(names, "ORDERS:eu/west-1_x.Placed", strings.Repeat("long.", 20)+"x", strings.Repeat("long.", 20)+"y") {
		topic := p.topic(name)
		require.NotEmpty(r, topic)
		require.Empty(r, topics[topic], "%q and %q share the topic %q", name, topics[topic], topic)
		topics[topic] = name
	}
	tallies := map[string]*tally{}
	for _, name := range []string{"a.b", "a-b", "a_b", "a:b", "a/b", "A.b", strings.Repeat("long.", 20) + "x", countedName} {
		tallies[name] = r.tally()
		p.handle(name, tallies[name].handle)
	}
	p.start()
	p.send(1, 3)
	for _, c := range tallies {
		c.wantEach(1, 3)
	}
}

// Events that share a topic keep their order, even if their types differ.
func checkOrder(r *rig) {
	topic := strings.TrimSuffix(r.prefix, ".") + "-shared"
	p := r.open(relay.WithTopics(func(string) string { return topic }), relay.WithKeyBy(func(tidings.Event) string { return "one" }))
	got, all := r.tally(), r.tally()
	p.handle("counted", got.handle)
	tidings.Subscribe(p.bus, func(_ context.Context, e tidings.Event) error {
		switch e := e.(type) {
		case counted:
			all.add(e.Number)
		case described:
			all.add(e.Number)
		}
		return nil
	}, tidings.Named("all"), tidings.Via(p.Relay))
	p.start()
	var want, wantCounted []int64
	for n := int64(1); n <= 60; n += 2 {
		p.send(n, n)
		require.NoError(r, tidings.Publish(r.Context(), p.bus, described{Number: n + 1}))
		want, wantCounted = append(want, n, n+1), append(wantCounted, n)
	}
	all.await(1, 60)
	require.Equal(r, want, all.inOrder())
	got.await(59, 59)
	require.Equal(r, wantCounted, got.inOrder())
}
