package tidings_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tidings-go/tidings"
	"github.com/tidings-go/tidings/internal/txtest"
)

func numbered(from, to int64) (events []clientCreated) {
	for i := from; i <= to; i++ {
		events = append(events, clientCreated{ClientID: i})
	}
	return events
}

func idsOf(from, to int64) (numbers []int64) {
	for _, e := range numbered(from, to) {
		numbers = append(numbers, e.ClientID)
	}
	return numbers
}

func TestAsyncDoesNotKeepThePublisher(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b := tidings.New(), newBlocked()
		defer b.release()
		id := ""
		tidings.Subscribe(bus, func(ctx context.Context, e proposalAccepted) error {
			id = goroutineID()
			return b.handle(ctx, e)
		}, tidings.Async())
		publish(t, bus, proposalAccepted{}) // and returns, though the handler does not
		<-b.entered
		require.NotEqual(t, goroutineID(), id)
		publish(t, bus, proposalAccepted{}, proposalAccepted{})
	})
}

func TestAsyncKeepsTheOrderAndDoesNotOverlap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus := tidings.New(tidings.WithWorkers(8))
		const subscriptions, events = 5, 200
		got := make([][]int64, subscriptions)
		for s := range subscriptions {
			var running atomic.Int32
			tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
				if running.Add(1) != 1 {
					t.Error("two events of one subscription are handled at once")
				}
				defer running.Add(-1)
				<-time.After(time.Duration((e.ClientID*7+int64(s))%5) * time.Millisecond)
				got[s] = append(got[s], e.ClientID) // without a lock: the race detector watches
				return nil
			}, tidings.Async())
		}
		publish(t, bus, numbered(1, events)...)
		require.NoError(t, bus.Close(t.Context()))
		for s := range subscriptions {
			require.Equal(t, idsOf(1, events), got[s])
		}
	})
}

func TestAsyncSubscriptionsRunInParallelUpToWithWorkers(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []tidings.Option
		want int
	}{
		{"two", []tidings.Option{tidings.WithWorkers(2)}, 2},
		{"the default", nil, 4 * runtime.GOMAXPROCS(0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				bus, b := tidings.New(tt.opts...), newBlocked()
				defer b.release()
				for range tt.want + 3 {
					tidings.Subscribe(bus, b.handle, tidings.Async())
				}
				publish(t, bus, proposalAccepted{}, proposalAccepted{})
				synctest.Wait()
				require.Len(t, b.entered, tt.want)
				b.release()
				require.NoError(t, bus.Close(t.Context()))
				require.Len(t, b.entered, 2*(tt.want+3))
			})
		})
	}
}

// With one worker a long queue must not starve the others.
func TestAsyncQueuesTakeTurns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b, d := tidings.New(tidings.WithWorkers(1)), newBlocked(), &diary{}
		defer b.release()
		tidings.Subscribe(bus, b.handle, tidings.Async())
		publish(t, bus, proposalAccepted{})
		<-b.entered // the worker is busy
		tidings.Subscribe(bus, writes[clientCreated](d, "client"), tidings.Async())
		tidings.Subscribe(bus, writes[projectCreated](d, "project"), tidings.Async())
		publish(t, bus, numbered(1, 3)...)
		publish(t, bus, projectCreated{}, projectCreated{})
		b.release()
		require.NoError(t, bus.Close(t.Context()))
		require.Equal(t, []string{"client", "project", "client", "project", "client"}, d.read())
	})
}

func TestAsyncHandlerPublishesToItsOwnQueue(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []tidings.Option
	}{
		{"one worker", []tidings.Option{tidings.WithWorkers(1), tidings.WithMaxDepth(500)}},
		{"four", []tidings.Option{tidings.WithWorkers(4), tidings.WithMaxDepth(500)}},
		{"a limit", []tidings.Option{tidings.WithWorkers(1), tidings.WithQueueLimit(1), tidings.WithMaxDepth(500)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				bus := tidings.New(tt.opts...)
				var got []int64
				tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
					got = append(got, e.ClientID)
					if e.ClientID == 500 {
						return nil
					}
					return tidings.Publish(ctx, bus, clientCreated{ClientID: e.ClientID + 1})
				}, tidings.Async())
				publish(t, bus, clientCreated{ClientID: 1})
				require.NoError(t, bus.Close(t.Context()), "Close drains what handlers go on to publish")
				require.Equal(t, idsOf(1, 500), got)
			})
		})
	}
}

// A circle ends, whatever it goes through, and the error shows it.
func TestAsyncCircleIsBounded(t *testing.T) {
	for _, tt := range []struct {
		reason  string
		publish func(context.Context, *tidings.EventBus) error
	}{
		{"straight from the handler", func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Publish(ctx, bus, clientCreated{})
		}},
		{"in a transaction of the handler", func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error { return tidings.Publish(ctx, bus, clientCreated{}) })
		}},
		{"in a context that was detached", func(ctx context.Context, bus *tidings.EventBus) error {
			return tidings.Publish(context.WithoutCancel(ctx), bus, clientCreated{})
		}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, calls := &failures{}, 0
				bus := tidings.New(tidings.WithWorkers(1), tidings.WithMaxDepth(7), tidings.WithErrorHandler(f.handle))
				tidings.Subscribe(bus, func(ctx context.Context, _ clientCreated) error {
					calls++
					return tt.publish(ctx, bus)
				}, tidings.Async())
				publish(t, bus, clientCreated{})
				require.NoError(t, bus.Close(t.Context()))
				require.Equal(t, 7, calls)
				require.Len(t, f.errs, 1)
				require.ErrorIs(t, f.errs[0], tidings.ErrMaxDepth)
				require.ErrorContains(t, f.errs[0], "clientCreated > tidings_test.clientCreated > ")
			})
		})
	}
}

// A context from outside begins a new chain, for handlers that go on for ever.
func TestAsyncChainWithAContextFromOutside(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		outside, calls := t.Context(), 0
		bus := tidings.New(tidings.WithMaxDepth(1))
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			if calls++; calls == 10 {
				return nil
			}
			return tidings.Publish(outside, bus, clientCreated{})
		}, tidings.Async())
		publish(t, bus, clientCreated{})
		synctest.Wait()
		require.Equal(t, 10, calls)
		require.NoError(t, bus.Close(t.Context()))
	})
}

// A queue that has been long keeps nothing of it. Not parallel: it looks at
// the memory of the process.
func TestAsyncKeepsNoMemoryOfABurst(t *testing.T) {
	const events = 200_000
	bus, release := tidings.New(tidings.WithWorkers(2)), make(chan struct{})
	var handled sync.WaitGroup
	handled.Add(2 * events)
	for range 2 {
		tidings.Subscribe(bus, func(context.Context, clientCreated) error {
			<-release
			handled.Done()
			return nil
		}, tidings.Async())
	}
	before := heapInUse()
	for n := range events {
		publish(t, bus, clientCreated{ClientID: int64(n)})
	}
	require.Greater(t, heapInUse()-before, int64(10<<20), "else this test shows nothing")
	close(release)
	handled.Wait()
	require.Eventually(t, func() bool { return heapInUse()-before < 1<<20 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, bus.Close(t.Context()))
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAsyncContainsFailures(t *testing.T) {
	for _, fail := range []struct {
		name    string
		with    func() error
		message string
	}{
		{"an error", func() error { return errDeclined }, "tidings: fails handling tidings_test.clientCreated: card declined"},
		{"a panic", func() error { panic("boom") }, "tidings: fails handling tidings_test.clientCreated: panic: boom"},
		{"Goexit", func() error { runtime.Goexit(); return nil },
			"tidings: fails handling tidings_test.clientCreated: runtime.Goexit was called (t.FailNow, t.Skip and the like do)"},
	} {
		t.Run(fail.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, d := &failures{}, &diary{}
				bus := tidings.New(tidings.WithWorkers(1), tidings.WithErrorHandler(f.handle))
				tidings.Subscribe(bus, func(_ context.Context, e clientCreated) error {
					d.add("handles %d", e.ClientID)
					if e.ClientID%2 == 1 {
						return fail.with()
					}
					return nil
				}, tidings.Async(), tidings.Named("fails"))
				tidings.Subscribe(bus, writes[projectCreated](d, "another"), tidings.Async())
				publish(t, bus, numbered(1, 4)...)
				publish(t, bus, projectCreated{})
				require.NoError(t, bus.Close(t.Context()))
				require.ElementsMatch(t, []string{"handles 1", "handles 2", "handles 3", "handles 4", "another"}, d.read())
				require.Equal(t, []string{fail.message, fail.message}, f.messages())
				for i, err := range f.errs {
					var he *tidings.HandlerError
					require.ErrorAs(t, err, &he)
					require.Equal(t, int64(2*i+1), he.Event.(clientCreated).ClientID)
					require.Equal(t, he.Event, f.events[i])
				}
			})
		})
	}
}

func TestAsyncErrorHandlerThatFailsIsContained(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func()
	}{
		{"a panic", func() { panic("no metrics") }},
		{"Goexit", runtime.Goexit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				d := &diary{}
				logged(t, func(logger *slog.Logger) {
					bus := tidings.New(tidings.WithWorkers(1), tidings.WithLogger(logger), tidings.WithErrorHandler(func(context.Context, error) { tt.fail() }))
					tidings.Subscribe(bus, func(context.Context, clientCreated) error {
						d.add("handled")
						return errDeclined
					}, tidings.Async())
					publish(t, bus, numbered(1, 3)...)
					require.NoError(t, bus.Close(t.Context()))
				})
				require.Len(t, d.read(), 3)
			})
		})
	}
}

func TestAsyncContext(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		type key struct{}
		bus := tidings.New()
		var cause, effect tidings.Event
		checked := false
		tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
			require.Equal(t, "tenant 7", ctx.Value(key{}), "the values of the publisher's")
			require.NoError(t, ctx.Err())
			require.Nil(t, ctx.Done(), "not its cancellation")
			_, ok := ctx.Deadline()
			require.False(t, ok)
			_, ok = tidings.TxFrom[string](ctx, txtest.Database)
			require.False(t, ok, "nor its transaction")
			from, ok := tidings.EventFrom(ctx)
			require.True(t, ok)
			require.Equal(t, tidings.Event(e), from)
			checked, cause = true, e
			return tidings.Publish(ctx, bus, projectCreated{})
		}, tidings.Async())
		tidings.Subscribe(bus, func(_ context.Context, e projectCreated) error {
			effect = e
			return nil
		})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "tenant 7"), time.Hour)
		ctx = tidings.WithCorrelationID(ctx, uuid.New())
		require.NoError(t, tidings.Transact(ctx, txtest.Bare, func(ctx context.Context) error {
			return tidings.Publish(tidings.WithTx(ctx, txtest.Database, "the transaction"), bus, clientCreated{})
		}))
		cancel()
		require.NoError(t, bus.Close(t.Context()))
		require.True(t, checked)
		require.Equal(t, cause.CorrelationID(), effect.CorrelationID())
		require.Equal(t, cause.EventID(), effect.CausationID())
		require.NotEqual(t, cause.EventID(), cause.CorrelationID())
	})
}

func TestAsyncHandlersOutliveTheRequestThatPublished(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b := tidings.New(), newBlocked()
		defer b.release()
		tidings.Subscribe(bus, b.handle, tidings.Async())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		require.NoError(t, tidings.Publish(ctx, bus, proposalAccepted{}))
		require.NoError(t, tidings.Publish(ctx, bus, proposalAccepted{}), "still queued when the request ends")
		running := <-b.entered
		cancel()
		require.NoError(t, running.Err())
		require.Nil(t, running.Done())
		b.release()
		require.NoError(t, bus.Close(t.Context()))
		require.Len(t, b.entered, 1)
	})
}

func TestAsyncHandlersHaveTheirOwnCopy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus := tidings.New()
		var wg sync.WaitGroup
		wg.Add(2)
		for range 2 {
			tidings.Subscribe(bus, func(_ context.Context, e orderPlaced) error {
				e.Stock["apples"]++
				wg.Done()
				wg.Wait() // both at once: the race detector watches
				require.Equal(t, 2, e.Stock["apples"])
				return nil
			}, tidings.Async())
		}
		event := placed(nil)
		publish(t, bus, event)
		event.Stock["apples"] = 50
		require.NoError(t, bus.Close(t.Context()))
	})
}

func TestAsyncWithTheOtherOptions(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, d := tidings.New(), &diary{}
		handler := writes[clientCreated](d, "twice")
		tidings.Subscribe(bus, handler, tidings.Async())
		tidings.Subscribe(bus, handler, tidings.Async())
		tidings.Subscribe(bus, writes[clientCreated](d, "once"), tidings.Async(), tidings.Once(), tidings.Async())
		tidings.Subscribe(bus, writes[audited](d, "family"), tidings.Async(), traces(d, "middleware"))
		publish(t, bus, numbered(1, 2)...)
		synctest.Wait()
		require.Len(t, bus.Subscriptions(), 3)
		require.NoError(t, bus.Close(t.Context()))
		lines := d.read()
		for line, n := range map[string]int{"twice": 4, "once": 1, "family": 2, "> middleware": 2, "< middleware": 2} {
			require.Equal(t, n, count(lines, line), line)
		}
		require.Len(t, lines, 11)
	})
}

func TestAsyncAndFailuresHere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, d := tidings.New(), &diary{}
		tidings.Subscribe(bus, func(context.Context, clientCreated) error { return errDeclined })
		tidings.Subscribe(bus, writes[clientCreated](d, "async"), tidings.Async())
		err := tidings.Publish(t.Context(), bus, clientCreated{})
		require.True(t, errors.Is(err, errDeclined))
		require.NoError(t, bus.Close(t.Context()))
		require.Equal(t, []string{"async"}, d.read())
	})
}

func TestAsyncQueueLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b, d := tidings.New(tidings.WithQueueLimit(2)), newBlocked(), &diary{}
		defer b.release()
		tidings.Subscribe(bus, b.handle, tidings.Async())
		tidings.Subscribe(bus, b.handle, tidings.Async(), tidings.Named("crm.slow"))
		tidings.Subscribe(bus, writes[proposalAccepted](d, "fast"), tidings.Async())
		tidings.Subscribe(bus, writes[proposalAccepted](d, "here"))
		publish(t, bus, proposalAccepted{}) // taken by workers
		synctest.Wait()
		publish(t, bus, proposalAccepted{}, proposalAccepted{}) // waiting
		synctest.Wait()

		err := tidings.Publish(t.Context(), bus, proposalAccepted{})
		require.ErrorIs(t, err, tidings.ErrQueueFull)
		errs := handlerErrors(t, err)
		require.Len(t, errs, 2)
		require.EqualError(t, errs[0], "tidings: tidings_test.(*blocked).handle handling tidings_test.proposalAccepted: queue full")
		require.EqualError(t, errs[1], "tidings: crm.slow handling tidings_test.proposalAccepted: queue full")
		synctest.Wait()
		require.Equal(t, 4, count(d.read(), "here"), "the others get the event")
		require.Equal(t, 4, count(d.read(), "fast"))

		b.release()
		synctest.Wait()
		require.Len(t, b.entered, 6)
		publish(t, bus, proposalAccepted{})
		require.NoError(t, bus.Close(t.Context()))
		require.Len(t, b.entered, 8)
	})
}

func count(lines []string, line string) int {
	return len(slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l != line }))
}

func TestAsyncQueuesGrowByDefault(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b, calls := tidings.New(), newBlocked(), 0
		defer b.release()
		tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
			if calls++; calls == 1 {
				return b.handle(ctx, proposalAccepted{})
			}
			return nil
		}, tidings.Async())
		publish(t, bus, numbered(1, 20_000)...)
		b.release()
		require.NoError(t, bus.Close(t.Context()))
		require.Equal(t, 20_000, calls)
	})
}

func TestAsyncUnsubscribedWhileQueued(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, b := tidings.New(), newBlocked()
		defer b.release()
		var got []int64
		sub := tidings.Subscribe(bus, func(ctx context.Context, e clientCreated) error {
			got = append(got, e.ClientID)
			return b.handle(ctx, proposalAccepted{})
		}, tidings.Async(), tidings.Named("clients.onboard"))
		publish(t, bus, numbered(1, 3)...)
		<-b.entered
		sub.Unsubscribe()
		sub.Unsubscribe()
		publish(t, bus, numbered(4, 5)...)
		tidings.Subscribe(bus, onAny[clientCreated], tidings.Async(), tidings.Named("clients.onboard"))
		publish(t, bus, numbered(6, 6)...)
		b.release()
		require.NoError(t, bus.Close(t.Context()))
		require.Equal(t, []int64{1, 2, 3}, got, "what was accepted is delivered, nothing else")
	})
}

func TestAsyncUnsubscribedWhileTheEventIsPublished(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bus, calls := tidings.New(), 0
		var sub *tidings.Subscription
		c := &courier{send: func(context.Context, []tidings.Outgoing) error {
			sub.Unsubscribe()
			return nil
		}}
		tidings.Subscribe(bus, onAny[clientCreated], tidings.Via(c), tidings.Named("first"))
		sub = tidings.Subscribe(bus, countCalls(&calls), tidings.Async())
		publish(t, bus, clientCreated{})
		require.NoError(t, bus.Close(t.Context()))
		require.Zero(t, calls, "the queue is gone, and nothing waits for it")
	})
}
