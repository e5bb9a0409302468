package tidings_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
)

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
				return tidings.Transact(ctx, bare, func(ctx context.Context) error { return tidings.Publish(ctx, bus, e) })
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
	for name, publish := range map[string]func(context.Context, *tidings.EventBus, orderPlaced) error{
		"statically": tidings.Publish[orderPlaced],
		"behind an interface": func(ctx context.Context, bus *tidings.EventBus, e orderPlaced) error {
			return tidings.Publish[tidings.Event](ctx, bus, e)
		},
	} {
		t.Run(name, func(t *testing.T) {
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
			require.NoError(t, publish(t.Context(), bus, event))
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
	timeLimit(t)
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

// The copy for a transport is made before the handlers here have theirs. Its
// failure is that of the handlers there.
func TestCloneThatPanicsForATransport(t *testing.T) {
	t.Parallel()
	bus, c, d := tidings.New(), &courier{}, &diary{}
	tidings.Subscribe(bus, onAny[orderPlaced], tidings.Via(c), tidings.Named("there"))
	tidings.Subscribe(bus, writes[orderPlaced](d, "here"))
	first := &cloneWatch{panics: func(n int32) bool { return n == 1 }}
	errs := handlerErrors(t, tidings.Publish(t.Context(), bus, placed(first)))
	require.Len(t, errs, 1)
	require.Equal(t, "there", errs[0].Handler)
	var pe *tidings.PanicError
	require.ErrorAs(t, errs[0], &pe)
	require.Equal(t, []string{"here"}, d.read())
	require.Empty(t, c.sent())
}

// handlerErrors takes err apart: it must be one join of HandlerErrors.
func handlerErrors(t *testing.T, err error) []*tidings.HandlerError {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok, "%T is no join: %v", err, err)
	var errs []*tidings.HandlerError
	for _, err := range joined.Unwrap() {
		he, ok := err.(*tidings.HandlerError)
		require.True(t, ok, "%T: %v", err, err)
		errs = append(errs, he)
	}
	return errs
}
