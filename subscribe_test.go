package tidings_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	bus, d := tidings.New(), &diary{}
	var subs []*tidings.Subscription
	for i := range 5 {
		subs = append(subs, tidings.Subscribe(bus, writes[clientCreated](d, fmt.Sprint(i))))
	}
	all := tidings.Subscribe(bus, writes[tidings.Event](d, "all"))
	publish := func() []string {
		d.lines = nil
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
		return d.read()
	}
	require.Equal(t, []string{"0", "1", "2", "3", "4", "all"}, publish())
	subs[2].Unsubscribe()
	require.Equal(t, []string{"0", "1", "3", "4", "all"}, publish())
	subs[2].Unsubscribe() // idempotent: it does not take a neighbour away
	require.Equal(t, []string{"0", "1", "3", "4", "all"}, publish())
	subs[0].Unsubscribe()
	subs[4].Unsubscribe()
	require.Equal(t, []string{"1", "3", "all"}, publish())
	all.Unsubscribe()
	all.Unsubscribe()
	require.Equal(t, []string{"1", "3"}, publish())
	tidings.Subscribe(bus, writes[clientCreated](d, "new"))
	require.Equal(t, []string{"1", "3", "new"}, publish())
	subs[1].Unsubscribe()
	subs[3].Unsubscribe()
	require.Equal(t, []string{"new"}, publish())
	require.Len(t, bus.Subscriptions(), 1)
}

// Closures of one literal have one entry point, so a bus that tells handlers
// apart by that removes the wrong one.
func TestClosuresOfOneLiteralAreDistinct(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	var first, second, third int
	tidings.Subscribe(bus, countCalls(&first))
	sub := tidings.Subscribe(bus, countCalls(&second))
	tidings.Subscribe(bus, countCalls(&third))
	sub.Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []int{1, 0, 1}, []int{first, second, third})
}

func TestTheSameFunctionSubscribedTwice(t *testing.T) {
	t.Parallel()
	bus, calls := tidings.New(), 0
	handler := countCalls(&calls)
	first := tidings.Subscribe(bus, handler)
	second := tidings.Subscribe(bus, handler)
	require.NotSame(t, first, second)
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, 2, calls)
	second.Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, 3, calls)
	second.Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, 4, calls)
	first.Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, 4, calls)
}

// Growing in place shares arrays between snapshots, which removing must not
// write to.
func TestSubscribeAfterUnsubscribeKeepsOlderSnapshots(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, d := tidings.New(), &diary{}
	var last *tidings.Subscription
	first := true
	tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		if first { // the running event goes on to "a" and "b"
			first = false
			last.Unsubscribe()
			tidings.Subscribe(bus, writes[clientCreated](d, "c"))
		}
		return nil
	})
	tidings.Subscribe(bus, writes[clientCreated](d, "a"))
	last = tidings.Subscribe(bus, writes[clientCreated](d, "b"))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, []string{"a", "b", "a", "c"}, d.read())
}

func TestAfterUnsubscribeReturnsNoLaterPublishCallsTheHandler(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus := tidings.New()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { // events fly all the time
			for {
				select {
				case <-stop:
					return
				default:
					if err := tidings.Publish(context.Background(), bus, clientCreated{ClientID: -1}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range int64(300) {
		var calls atomic.Int64
		sub := tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
			if e.ClientID == i {
				calls.Add(1)
			}
			return nil
		})
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: i}))
		require.Equal(t, int64(1), calls.Load(), "it is called as soon as Subscribe has returned")
		sub.Unsubscribe()
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: i}))
		require.Equal(t, int64(1), calls.Load())
	}
	close(stop)
	wg.Wait()
}

func TestSubscribeAndUnsubscribeWhileEventsFly(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus := tidings.New()
	var steady atomic.Int64
	tidings.Subscribe(bus, func(context.Context, clientCreated) error {
		steady.Add(1)
		return nil
	})
	const publishers, events = 2, 500
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for range events {
				if err := tidings.Publish(context.Background(), bus, clientCreated{}); err != nil {
					t.Error(err)
				}
				if err := tidings.Publish[tidings.Event](context.Background(), bus, projectCreated{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range events {
				typed := tidings.Subscribe(bus, func(context.Context, clientCreated) error { return nil })
				family := tidings.Subscribe(bus, func(context.Context, audited) error { return nil })
				wg.Go(typed.Unsubscribe)
				typed.Unsubscribe()
				bus.Subscriptions()
				family.Unsubscribe()
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(publishers*events), steady.Load(), "nobody's coming and going loses an event for others")
	require.Len(t, bus.Subscriptions(), 1)
}

type accountant struct{}

func (*accountant) onCreated(context.Context, clientCreated) error { return nil }

// register stands for a module that wires its handlers in a small function,
// which the compiler inlines. It returns the line of its Subscribe.
func register(bus *tidings.EventBus) int {
	_, _, line, _ := runtime.Caller(0)
	tidings.Subscribe(bus, onAny[projectCreated])
	return line + 1
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	require.Empty(t, bus.Subscriptions())
	_, file, line, _ := runtime.Caller(0)
	tidings.Subscribe(bus, (&accountant{}).onCreated)
	tidings.Subscribe(bus, onAny[audited], tidings.InTransaction)
	tidings.Subscribe(bus,
		func(context.Context, proposalAccepted) error { return nil },
		tidings.Named("crm.log"), tidings.AfterRollback)
	removed := tidings.Subscribe(bus, onAny[clientCreated])
	tidings.Subscribe(bus, onAny[projectCreated], tidings.Async())
	registered := register(bus)
	removed.Unsubscribe()

	infos := bus.Subscriptions()
	require.Len(t, infos, 5)
	async := infos[3].Transport
	require.NotNil(t, async)
	require.Equal(t, tidings.SubscriptionInfo{EventType: reflect.TypeFor[clientCreated](), Handler: "tidings_test.(*accountant).onCreated", File: file, Line: line + 1}, infos[0])
	require.Equal(t, tidings.SubscriptionInfo{EventType: reflect.TypeFor[audited](), Handler: "tidings_test.onAny[...]", Phase: tidings.InTransaction, File: file, Line: line + 2}, infos[1])
	require.Equal(t, tidings.SubscriptionInfo{EventType: reflect.TypeFor[proposalAccepted](), Handler: "crm.log", Phase: tidings.AfterRollback, File: file, Line: infos[2].Line}, infos[2])
	require.Contains(t, []int{line + 3, line + 4, line + 5}, infos[2].Line)
	require.Equal(t, tidings.SubscriptionInfo{EventType: reflect.TypeFor[projectCreated](), Handler: "tidings_test.onAny[...]", Transport: async, File: file, Line: line + 7}, infos[3])
	require.Equal(t, file, infos[4].File)
	require.Equal(t, registered, infos[4].Line, "where Subscribe is called, not where that is inlined")

	infos[0].Handler = "changed"
	require.Equal(t, "tidings_test.(*accountant).onCreated", bus.Subscriptions()[0].Handler, "the caller has a copy")
}

func TestNames(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	_, file, line, _ := runtime.Caller(0)
	first := tidings.Subscribe(bus, onAny[clientCreated], tidings.Named("clients.onboard"))
	taken := fmt.Sprintf(`tidings: Subscribe: a handler named "clients.onboard" exists already, subscribed at %s:%d; stored jobs and queues are bound to names, so each handler needs its own`, file, line+1)
	require.PanicsWithValue(t, taken, func() {
		tidings.Subscribe(bus, onAny[projectCreated], tidings.Named("clients.onboard"))
	})
	require.Len(t, bus.Subscriptions(), 1)
	tidings.Subscribe(tidings.New(), onAny[clientCreated], tidings.Named("clients.onboard")) // on another bus
	first.Unsubscribe()
	second := tidings.Subscribe(bus, onAny[projectCreated], tidings.Named("clients.onboard"))
	first.Unsubscribe() // does not free the name again
	require.Panics(t, func() { tidings.Subscribe(bus, onAny[projectCreated], tidings.Named("clients.onboard")) })
	second.Unsubscribe()
	require.Empty(t, bus.Subscriptions())
}

func TestSubscribePanicsOnProgrammerErrors(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	subscribe := func(opts ...func() tidings.SubscribeOption) func() {
		return func() {
			var made []tidings.SubscribeOption
			for _, o := range opts {
				made = append(made, o())
			}
			tidings.Subscribe(bus, onAny[clientCreated], made...)
		}
	}
	option := func(o tidings.SubscribeOption) func() tidings.SubscribeOption {
		return func() tidings.SubscribeOption { return o }
	}
	for _, tt := range []struct {
		message string
		wire    func()
	}{
		{"tidings: Subscribe with a nil *EventBus", func() { tidings.Subscribe(nil, onAny[clientCreated]) }},
		{"tidings: Subscribe with a nil handler", func() { tidings.Subscribe[clientCreated](bus, nil) }},
		{"tidings: Subscribe with a nil handler", func() { tidings.Subscribe[tidings.Event](bus, nil) }},
		{"tidings: Subscribe with a nil SubscribeOption", subscribe(option(nil))},
		{"tidings: Subscribe with a nil Middleware", subscribe(option(tidings.Middleware(nil)))},
		{`tidings: Named(""): give the handler a name like "clients.onboard"`, subscribe(func() tidings.SubscribeOption { return tidings.Named("") })},
		{"tidings: Via with a nil Transport", subscribe(func() tidings.SubscribeOption { return tidings.Via(nil) })},
		{"tidings: Subscribe with an unknown phase, Phase(4)", subscribe(option(tidings.Phase(4)))},
		{"tidings: Subscribe with an unknown phase, Phase(-1)", subscribe(option(tidings.Phase(-1)))},
		{"tidings: Subscribe with two phases, InTransaction and BeforeCommit", subscribe(option(tidings.InTransaction), option(tidings.BeforeCommit))},
		{"tidings: Subscribe with two phases, AfterCommit and AfterRollback", subscribe(option(tidings.AfterCommit), option(tidings.AfterRollback))},
		{"tidings: Subscribe with AfterCommit and a transport: the transport's own phase counts; leave one of them out", subscribe(tidings.Async, option(tidings.AfterCommit))},
		{"tidings: Subscribe with BeforeCommit and a transport: the transport's own phase counts; leave one of them out", subscribe(option(tidings.BeforeCommit), tidings.Async)},
		{`tidings: Subscribe with two names, "a" and "b"`, subscribe(option(tidings.Named("a")), option(tidings.Named("b")))},
		{`tidings: Subscribe: inbox needs a name that lasts, and tidings_test.onAny[...] is that of a function: add tidings.Named("tidings_test.onAny[...]") or the like`, subscribe(option(tidings.RequireName("inbox")))},
		{"tidings: a Middleware returned a nil HandlerFunc", subscribe(option(tidings.Middleware(func(tidings.HandlerFunc) tidings.HandlerFunc { return nil })))},
	} {
		require.PanicsWithValue(t, tt.message, tt.wire)
	}
	require.Empty(t, bus.Subscriptions(), "what panicked is not subscribed")
	tidings.Subscribe(bus, onAny[clientCreated], tidings.RequireName("inbox"), tidings.Named("clients.named")).Unsubscribe()
	require.NotPanics(t, subscribe(option(tidings.Named("a")), option(tidings.Named("a")), option(tidings.InTransaction), option(tidings.InTransaction)), "twice the same is no contradiction")
}

// Active is for all subscriptions.
func TestActive(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	plain := tidings.Subscribe(bus, onAny[clientCreated])
	once := tidings.Subscribe(bus, onAny[clientCreated], tidings.Once())
	async := tidings.Subscribe(bus, onAny[clientCreated], tidings.Async())
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.True(t, plain.Active())
	require.False(t, once.Active(), "it has had its event")
	require.True(t, async.Active())
	async.Unsubscribe()
	require.False(t, async.Active())
	require.NoError(t, bus.Close(t.Context()))
	require.True(t, plain.Active(), "Close ends no subscription")
}

// Several options as one are those, also nested; none are none.
func TestSubscribeOptions(t *testing.T) {
	t.Parallel()
	c, bus := &courier{}, tidings.New()
	calls := 0
	count := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error {
			calls++
			return next(ctx, d)
		}
	})
	sub := tidings.Subscribe(bus, onAny[clientCreated], tidings.SubscribeOptions{
		tidings.Named("a"), tidings.SubscribeOptions{tidings.Via(c), count}, tidings.SubscribeOptions(nil),
	})
	require.Equal(t, "a", sub.Info().Handler)
	require.Same(t, c, sub.Info().Transport)
	require.NoError(t, c.handlers["a"].Deliver(t.Context(), tidings.Stamp(t.Context(), clientCreated{})))
	require.Equal(t, 1, calls)
	require.PanicsWithValue(t, "tidings: Subscribe with a nil SubscribeOption", func() {
		tidings.Subscribe(bus, onAny[clientCreated], tidings.SubscribeOptions{nil})
	})
}

func TestOnce(t *testing.T) {
	t.Parallel()
	bus, d := tidings.New(), &diary{}
	middleware := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, e tidings.Delivery) error {
			d.add("wrapped")
			return next(ctx, e)
		}
	})
	tidings.Subscribe(bus, writes[clientCreated](d, "typed"), tidings.Once(), middleware)
	tidings.Subscribe(bus, writes[tidings.Event](d, "all"), tidings.Once())
	tidings.Subscribe(bus, writes[audited](d, "always"))
	require.Len(t, bus.Subscriptions(), 3)
	require.NoError(t, tidings.Publish(t.Context(), bus, proposalAccepted{}))
	require.Equal(t, []string{"all"}, d.read(), "the first event that reaches it, whatever its type")
	for range 2 {
		require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	}
	require.Equal(t, []string{"all", "wrapped", "typed", "always", "always"}, d.read())
	require.Len(t, bus.Subscriptions(), 1)
}

func TestOnceEndsWithAFailureToo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		fail func() error
	}{
		{"an error", func() error { return errors.New("card declined") }},
		{"a panic", func() error { panic("card declined") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := tidings.New()
			tidings.Subscribe(bus, func(context.Context, clientCreated) error { return tt.fail() }, tidings.Once())
			require.ErrorContains(t, tidings.Publish(t.Context(), bus, clientCreated{}), "card declined")
			require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
		})
	}
}

// An event that a middleware keeps from the handler does not use it up, and a
// second attempt belongs to the call that did.
func TestOnceCountsCallsOfTheHandler(t *testing.T) {
	t.Parallel()
	even := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error {
			if d.Event().(clientCreated).ClientID%2 != 0 {
				return nil
			}
			return next(ctx, d)
		}
	})
	twice := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
		return func(ctx context.Context, d tidings.Delivery) error { return errors.Join(next(ctx, d), next(ctx, d)) }
	})
	for _, tt := range []struct {
		reason    string
		subscribe func(*tidings.EventBus, func(int64))
	}{
		{"a struct", func(bus *tidings.EventBus, got func(int64)) {
			tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error { got(e.ClientID); return nil }, tidings.Once(), even, twice)
		}},
		{"an interface", func(bus *tidings.EventBus, got func(int64)) {
			tidings.Subscribe(bus, func(_ context.Context, e tidings.Event) error { got(e.(clientCreated).ClientID); return nil }, even, twice, tidings.Once())
		}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			bus := tidings.New()
			var got []int64
			tt.subscribe(bus, func(id int64) { got = append(got, id) })
			for id := range int64(5) {
				require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: id + 1}))
			}
			require.Equal(t, []int64{2, 2}, got)
			require.Empty(t, bus.Subscriptions())
		})
	}
}

func TestOnceIsNotReentered(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, calls := tidings.New(), 0
	tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
		calls++
		return tidings.Publish(ctx, bus, clientCreated{})
	}, tidings.Once())
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Equal(t, 1, calls)
}

// The outer event keeps to the handlers that it began with, Once among them.
func TestOnceIsNotCalledAgainByAnEventUnderWay(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	bus, d := tidings.New(), &diary{}
	tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
		if e.ClientID == 1 {
			return tidings.Publish(ctx, bus, clientCreated{ClientID: 2})
		}
		return nil
	})
	tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
		d.add("once %d", e.ClientID)
		return nil
	}, tidings.Once())
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{ClientID: 1}))
	require.Equal(t, []string{"once 2"}, d.read())
}

func TestOnceUnderConcurrency(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	for range 1000 {
		bus := tidings.New()
		var calls, steady, ready atomic.Int32
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			ready.Add(1)
			for ready.Load() < 2 { // so that both reach the next one at the same moment
				runtime.Gosched()
			}
			return nil
		})
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			calls.Add(1)
			return nil
		}, tidings.Once())
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			steady.Add(1)
			return nil
		})
		var done sync.WaitGroup
		for range 2 {
			done.Go(func() {
				if err := tidings.Publish(context.Background(), bus, clientCreated{}); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		require.Equal(t, int32(1), calls.Load())
		require.Equal(t, int32(2), steady.Load())
		require.Len(t, bus.Subscriptions(), 2)
	}
}

func TestOnceThatWasUnsubscribedIsNeverCalled(t *testing.T) {
	t.Parallel()
	bus, calls := tidings.New(), 0
	tidings.Subscribe(bus, countCalls(&calls), tidings.Once()).Unsubscribe()
	require.NoError(t, tidings.Publish(t.Context(), bus, clientCreated{}))
	require.Zero(t, calls)
}
