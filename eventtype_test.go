package tidings_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

// A badType is a type of events that a bus refuses.
type badType struct {
	reason, message            string
	publish, publishBoxed      func(context.Context, *tidings.EventBus) error
	subscribe, stamp, stampAny func(*tidings.EventBus)
}

func bad[E tidings.Event](reason, message string, event E) badType {
	return badType{
		reason: reason, message: message,
		publish: func(ctx context.Context, bus *tidings.EventBus) error { return tidings.Publish(ctx, bus, event) },
		publishBoxed: func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Publish[tidings.Event](ctx, bus, event)
		},
		subscribe: func(bus *tidings.EventBus) {
			tidings.Subscribe(bus, func(context.Context, E) error { return nil })
		},
		stamp:    func(*tidings.EventBus) { tidings.Stamp(context.Background(), event) },
		stampAny: func(*tidings.EventBus) { tidings.Stamp[tidings.Event](context.Background(), event) },
	}
}

// requireRefused checks that the bus does not let the type in anywhere.
func (b badType) requireRefused(t *testing.T, opts ...tidings.Option) {
	t.Helper()
	for range 2 { // the second time from the cache
		bus := tidings.New(opts...)
		tidings.Subscribe(bus, func(context.Context, tidings.Event) error {
			t.Error("a handler was called")
			return nil
		})
		require.EqualError(t, b.publishBoxed(t.Context(), bus), b.message)
		require.EqualError(t, b.publish(t.Context(), bus), b.message)
		require.EqualError(t, b.publishBoxed(t.Context(), bus), b.message)
		require.PanicsWithValue(t, b.message, func() { b.subscribe(bus) })
		require.Len(t, bus.Subscriptions(), 1)

		fresh := tidings.New(opts...)
		require.PanicsWithValue(t, b.message, func() { b.subscribe(fresh) })
		require.EqualError(t, b.publish(t.Context(), fresh), b.message, "also where nobody subscribes")
		require.Empty(t, fresh.Subscriptions())
	}
}

// holding is an event with one field.
type holding[T any] struct {
	tidings.DomainEvent
	Field T
}

type tenantEvent struct {
	Tenant string
	tidings.DomainEvent
}

type pointedAtHeader struct{ *tidings.DomainEvent }

type embedsPointer struct {
	*tidings.DomainEvent
	N int
}

type embedsPointerDeeper struct {
	pointedAtHeader
	N int
}

type embedsBasePointer struct {
	*tenantEvent
	N int
}

type embedsTwo struct {
	tidings.DomainEvent
	tenantEvent
}

type embedsEvent struct {
	tidings.Event
	N int
}

type embedsFamily struct {
	N int
	audited
}

func TestTypesThatAreNoEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []badType{
		bad("a pointer", "tidings: *tidings_test.proposalAccepted is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.proposalAccepted itself", &proposalAccepted{}),
		bad("a nil pointer", "tidings: *tidings_test.clientCreated is a pointer, which handlers would share: publish and subscribe to the struct tidings_test.clientCreated itself", (*clientCreated)(nil)),
		bad("a header by pointer", "tidings: tidings_test.embedsPointer embeds *tidings.DomainEvent, which handlers would share: embed tidings.DomainEvent by value", embedsPointer{DomainEvent: &tidings.DomainEvent{}}),
		bad("a nil header by pointer", "tidings: tidings_test.pointedAtHeader embeds *tidings.DomainEvent, which handlers would share: embed tidings.DomainEvent by value", pointedAtHeader{}),
		bad("a header by pointer, one level down", "tidings: tidings_test.embedsPointerDeeper embeds *tidings.DomainEvent, which handlers would share: embed tidings.DomainEvent by value", embedsPointerDeeper{}),
		bad("a base by pointer", "tidings: tidings_test.embedsBasePointer embeds *tidings_test.tenantEvent, which handlers would share: embed tidings.DomainEvent by value", embedsBasePointer{tenantEvent: &tenantEvent{}}),
		bad("two headers", "tidings: tidings_test.embedsTwo embeds 2 headers: an event has one tidings.DomainEvent; make the others named fields", embedsTwo{}),
		bad("an event behind an interface", "tidings: tidings_test.embedsEvent embeds tidings.Event, which handlers would share: embed tidings.DomainEvent by value", embedsEvent{Event: clientCreated{}}),
		bad("a nil event behind an interface", "tidings: tidings_test.embedsFamily embeds tidings_test.audited, which handlers would share: embed tidings.DomainEvent by value", embedsFamily{}),
		bad("the bare header", "tidings: tidings.DomainEvent is not an event type: declare a struct that embeds tidings.DomainEvent", tidings.DomainEvent{}),
	} {
		t.Run(tt.reason, func(t *testing.T) {
			tt.requireRefused(t)
			tt.requireRefused(t, tidings.WithSharedEvents()) // which is about other memory
			require.PanicsWithValue(t, tt.message, func() { tt.stamp(nil) })
			require.PanicsWithValue(t, tt.message, func() { tt.stampAny(nil) })
		})
	}
	require.PanicsWithValue(t, "tidings: Stamp of a nil event", func() { tidings.Stamp[tidings.Event](t.Context(), nil) })
}

type ledgerEvent struct {
	before int64
	tenantEvent
	after int64
}

type entryBooked struct {
	Amount int64
	ledgerEvent
	Note string
}

type genericBase[T any] struct {
	Value T
	tidings.DomainEvent
}

type valueChanged struct{ genericBase[[3]string] }

type citesAnother struct {
	tidings.DomainEvent
	Cause tidings.DomainEvent // a named field is no second header
	Quote clientCreated
}

// The header is written at an offset that reflection found. Wherever that
// is, the neighbours must stay as they were.
func TestHeaderIsFoundInEmbeddedStructs(t *testing.T) {
	t.Parallel()
	requireStamped(t, tenantEvent{Tenant: "acme"})
	booked := requireStamped(t, entryBooked{Amount: 1, ledgerEvent: ledgerEvent{before: 2, tenantEvent: tenantEvent{Tenant: "acme"}, after: 3}, Note: "four"})
	require.Equal(t, []any{int64(1), int64(2), "acme", int64(3), "four"}, []any{booked.Amount, booked.before, booked.Tenant, booked.after, booked.Note})
	value := requireStamped(t, valueChanged{genericBase[[3]string]{Value: [3]string{"a", "b", "c"}}})
	require.Equal(t, [3]string{"a", "b", "c"}, value.Value)
	requireStamped(t, changed[tenantEvent]{Old: tenantEvent{Tenant: "acme"}})

	earlier := tidings.Stamp(t.Context(), clientCreated{ClientID: 3})
	cites := requireStamped(t, citesAnother{Cause: earlier.DomainEvent, Quote: earlier})
	require.Equal(t, earlier.DomainEvent, cites.Cause)
	require.Equal(t, earlier, cites.Quote)

	requireStamped(t, struct {
		tidings.DomainEvent
		N int
	}{N: 7})
}

// requireStamped publishes event in every way and returns what arrived.
func requireStamped[E tidings.Event](t *testing.T, event E) (got E) {
	t.Helper()
	bus := tidings.New()
	calls := 0
	tidings.Subscribe(bus, func(ctx context.Context, e E) error {
		calls++
		require.NotEqual(t, uuid.Nil, e.EventID())
		require.Equal(t, e.EventID(), e.CorrelationID())
		require.False(t, e.OccurredAt().IsZero())
		require.Equal(t, e.EventID(), tidings.Stamp(ctx, clientCreated{}).CausationID())
		got = e
		return nil
	})
	require.NoError(t, tidings.Publish[tidings.Event](t.Context(), bus, event))
	require.NoError(t, tidings.Publish(t.Context(), bus, event))
	require.NoError(t, tidings.Publish(t.Context(), bus, tidings.Stamp(t.Context(), event)))
	require.NoError(t, tidings.Publish(t.Context(), bus, tidings.Stamp[tidings.Event](t.Context(), event)))
	require.Equal(t, 4, calls)
	require.Equal(t, uuid.Nil, event.EventID())
	return got
}

// orderPlaced has a deep copy of its own, which the tests can watch.
type orderPlaced struct {
	tidings.DomainEvent
	Stock map[string]int
	watch *cloneWatch
}

type cloneWatch struct {
	count  atomic.Int32
	panics func(n int32) bool // at the nth Clone
}

func (e orderPlaced) Clone() orderPlaced {
	if e.watch != nil {
		if n := e.watch.count.Add(1); e.watch.panics != nil && e.watch.panics(n) {
			panic("cannot clone")
		}
	}
	// The header is left out: the bus restores it.
	return orderPlaced{Stock: maps.Clone(e.Stock), watch: e.watch}
}

func placed(w *cloneWatch) orderPlaced {
	return orderPlaced{Stock: map[string]int{"apples": 1}, watch: w}
}

func TestCloneIsCalledOncePerHandler(t *testing.T) {
	t.Parallel()
	for handlers := range 4 {
		bus, w := tidings.New(), &cloneWatch{}
		for range handlers {
			tidings.Subscribe(bus, func(context.Context, orderPlaced) error { return nil })
			tidings.Subscribe(bus, func(context.Context, tidings.Event) error { return nil })
		}
		require.NoError(t, tidings.Publish(t.Context(), bus, placed(w)))
		require.Equal(t, int32(2*handlers), w.count.Load())
	}
}

// What a handler does to its copy is seen nowhere else: not by a second
// attempt, not through the context, not by a middleware or the error handler.
func TestCloneForEachCall(t *testing.T) {
	t.Parallel()
	apples := func(e tidings.Event) int { return e.(orderPlaced).Stock["apples"] }
	for _, tt := range []struct {
		reason    string
		subscribe func(bus *tidings.EventBus, handler func(context.Context, tidings.Event) error, opts ...tidings.SubscribeOption)
	}{
		{"a struct", func(bus *tidings.EventBus, handler func(context.Context, tidings.Event) error, opts ...tidings.SubscribeOption) {
			tidings.Subscribe(bus, func(ctx context.Context, e orderPlaced) error { return handler(ctx, e) }, opts...)
		}},
		{"an interface", func(bus *tidings.EventBus, handler func(context.Context, tidings.Event) error, opts ...tidings.SubscribeOption) {
			tidings.Subscribe(bus, handler, opts...)
		}},
	} {
		for _, way := range []struct {
			reason string
			opts   []tidings.SubscribeOption
			send   func(context.Context, *tidings.EventBus, orderPlaced) error
		}{
			{"published", nil, tidings.Publish[orderPlaced]},
			{"published behind an interface", nil, func(ctx context.Context, bus *tidings.EventBus, e orderPlaced) error {
				return tidings.Publish[tidings.Event](ctx, bus, e)
			}},
			{"after a commit", nil, func(ctx context.Context, bus *tidings.EventBus, e orderPlaced) error {
				return tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error { return tidings.Publish(ctx, bus, e) })
			}},
			{"before a commit", []tidings.SubscribeOption{tidings.BeforeCommit}, tidings.Publish[orderPlaced]},
			{"async", []tidings.SubscribeOption{tidings.Async()}, tidings.Publish[orderPlaced]},
			{"delivered", nil, func(ctx context.Context, bus *tidings.EventBus, e orderPlaced) error {
				return bus.Deliver(ctx, "counts", tidings.Stamp(ctx, e))
			}},
		} {
			t.Run(tt.reason+", "+way.reason, func(t *testing.T) {
				var mu sync.Mutex
				seen := map[string][]int{}
				see := func(where string, e tidings.Event) {
					mu.Lock()
					defer mu.Unlock()
					seen[where] = append(seen[where], apples(e))
				}
				twice := tidings.Middleware(func(next tidings.HandlerFunc) tidings.HandlerFunc {
					return func(ctx context.Context, d tidings.Delivery) error {
						first := next(ctx, d)
						see("middleware", d.Event())
						return errors.Join(first, next(ctx, d))
					}
				})
				bus := tidings.New(tidings.WithErrorHandler(func(ctx context.Context, err error) {
					e, ok := tidings.EventFrom(ctx)
					require.True(t, ok)
					see("error handler", e)
				}))
				failed := errors.New("no more apples")
				tt.subscribe(bus, func(ctx context.Context, e tidings.Event) error {
					see("handler", e)
					e.(orderPlaced).Stock["apples"] = 99
					again, _ := tidings.EventFrom(ctx)
					see("context", again)
					return failed
				}, append(way.opts, tidings.Named("counts"), twice)...)
				event := placed(nil)
				if err := way.send(t.Context(), bus, event); err != nil {
					he := (*tidings.HandlerError)(nil)
					require.ErrorAs(t, err, &he)
					see("error", he.Event)
				}
				require.NoError(t, bus.Close(t.Context()))
				require.Equal(t, 1, apples(event))
				for where, all := range seen {
					for _, n := range all {
						require.Equal(t, 1, n, where)
					}
				}
				require.Equal(t, []int{1, 1}, seen["handler"])
				require.Len(t, append(seen["error handler"], seen["error"]...), 1)
			})
		}
	}
}

func TestCloneIsolatesHandlersAndPublisher(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		publish func(context.Context, *tidings.EventBus, orderPlaced) error
	}{
		{"statically", tidings.Publish[orderPlaced]},
		{"behind an interface", func(ctx context.Context, bus *tidings.EventBus, e orderPlaced) error {
			return tidings.Publish[tidings.Event](ctx, bus, e)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := tidings.New()
			var seen []int
			var ids []string
			look := func(ctx context.Context, e orderPlaced) {
				seen = append(seen, e.Stock["apples"])
				ids = append(ids, e.EventID().String())
				e.Stock["apples"]++
				// What others get from ctx is a copy of its own, too.
				from, ok := tidings.EventFrom(ctx)
				require.True(t, ok)
				require.Equal(t, e.EventID(), from.EventID())
				from.(orderPlaced).Stock["apples"] = 99
				require.Equal(t, 2, e.Stock["apples"])
			}
			tidings.Subscribe(bus, func(ctx context.Context, e tidings.Event) error {
				look(ctx, e.(orderPlaced))
				return nil
			})
			for range 2 {
				tidings.Subscribe(bus, func(ctx context.Context, e orderPlaced) error {
					look(ctx, e)
					return nil
				})
			}
			event := tidings.Stamp(t.Context(), placed(nil))
			require.NoError(t, tt.publish(t.Context(), bus, event))
			require.Equal(t, []int{1, 1, 1}, seen)
			require.Equal(t, map[string]int{"apples": 1}, event.Stock)
			id := event.EventID().String()
			require.Equal(t, []string{id, id, id}, ids, "the header is kept")
		})
	}
}

func TestCloneKeepsTheHeaderOfAnUnstampedEvent(t *testing.T) {
	t.Parallel()
	requireStamped(t, placed(nil))
}

func TestErrorsShowWhatAHandlerWasGiven(t *testing.T) {
	t.Parallel()
	bus := tidings.New()
	tidings.Subscribe(bus, func(_ context.Context, e orderPlaced) error {
		e.Stock["apples"] = 99
		return errors.New("sold out")
	})
	tidings.Subscribe(bus, func(_ context.Context, e orderPlaced) error {
		e.Stock["apples"] = 99
		panic("sold out")
	})
	for i, he := range handlerErrors(t, tidings.Publish(t.Context(), bus, placed(nil))) {
		require.Equal(t, map[string]int{"apples": 1}, he.Event.(orderPlaced).Stock, "error %d", i)
	}
}

// A Clone that panics fails the handler that it was for.
func TestCloneThatPanics(t *testing.T) {
	t.Parallel()
	txtest.TimeLimit(t)
	for _, tt := range []struct {
		reason string
		at     func(n int32) bool
		called []string
	}{
		{"the first", func(n int32) bool { return n == 1 }, []string{"second", "third"}},
		{"the second", func(n int32) bool { return n == 2 }, []string{"first", "third"}},
		{"the last", func(n int32) bool { return n == 3 }, []string{"first", "second"}},
		{"all", func(int32) bool { return true }, nil},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			bus, d := tidings.New(), &diary{}
			for _, name := range []string{"first", "second", "third"} {
				tidings.Subscribe(bus, writes[orderPlaced](d, name), tidings.Named(name))
			}
			errs := handlerErrors(t, tidings.Publish(t.Context(), bus, placed(&cloneWatch{panics: tt.at})))
			require.Len(t, errs, 3-len(tt.called))
			for _, he := range errs {
				var pe *tidings.PanicError
				require.ErrorAs(t, he, &pe)
				require.Equal(t, "cannot clone", pe.Value)
				require.NotNil(t, he.Event)
			}
			require.Equal(t, tt.called, d.read())
			require.NoError(t, bus.Close(t.Context()))
		})
	}
}

// The copies for a transport are made before the handlers here have theirs. Without
// one to encode the event is not published; that there is none to send is a failure of
// the handlers there.
func TestCloneThatPanicsForATransport(t *testing.T) {
	t.Parallel()
	bus, c, d := tidings.New(), &courier{}, &diary{}
	tidings.Subscribe(bus, onAny[orderPlaced], tidings.Via(c), tidings.Named("there"))
	tidings.Subscribe(bus, writes[orderPlaced](d, "here"))
	first := &cloneWatch{panics: func(n int32) bool { return n == 1 }}
	err := tidings.Publish(t.Context(), bus, placed(first))
	require.ErrorContains(t, err, "tidings: tidings_test.orderPlaced is not published: ")
	require.ErrorContains(t, err, "cannot clone")
	require.Empty(t, d.read())

	second := &cloneWatch{panics: func(n int32) bool { return n == 2 }}
	errs := handlerErrors(t, tidings.Publish(t.Context(), bus, placed(second)))
	require.Len(t, errs, 1)
	require.Equal(t, "there", errs[0].Handler)
	var pe *tidings.PanicError
	require.ErrorAs(t, errs[0], &pe)
	require.Equal(t, []string{"here"}, d.read())
	require.Empty(t, c.sent())
}
